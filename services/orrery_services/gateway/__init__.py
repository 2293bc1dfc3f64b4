"""What people look at: projections behind the facts, and a small HTTP page of JSON.

Reading order: steps (pure), projections (Postgres), series (the time-series store), page, app.
"""
