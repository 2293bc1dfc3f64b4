"""Write the holiday tables of kernels/orrery_kernels/curves/calendars from QuantLib.

Run at development time only: `python tests/kernels/curves/generate_calendars.py`. The tables are
data of their own afterwards: an upgrade of the library changes nothing until somebody runs this
and reads the diff.
"""

from pathlib import Path

import QuantLib as ql

FIRST_YEAR, LAST_YEAR = 2000, 2110
SCRIPT = Path(__file__).name
FOLDER = Path(__file__).resolve().parents[3] / "kernels/orrery_kernels/curves/calendars"
US, UK = ql.UnitedStates, ql.UnitedKingdom
SOURCES = {
    "sofr": ("SOFR", "days on which SOFR is published", US(US.SOFR)),
    "us_government": ("US-GOV", "US government bond market", US(US.GovernmentBond)),
    "fed": ("FED", "Federal Reserve Banks", US(US.FederalReserve)),
    "target": ("TARGET", "euro area payment system", ql.TARGET()),
    "london": ("LONDON", "London banks", UK(UK.Settlement)),
    "tokyo": ("TOKYO", "Tokyo banks", ql.Japan()),
}


def table(calendar: ql.Calendar) -> str:
    lines = []
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        closed = calendar.holidayList(ql.Date(1, 1, year), ql.Date(31, 12, year), False)
        days = [f"{day.month():02d}{day.dayOfMonth():02d}" for day in closed]
        lines.append(" ".join([str(year), *days]))
    return "\n".join(lines)


def wrapped(text: str) -> str:
    """A year of more than 100 columns goes on in a line that begins with a blank."""
    rows = []
    for line in text.split("\n"):
        while len(line) > 98:
            cut = line.rindex(" ", 0, 98)
            rows.append(line[:cut])
            line = " " + line[cut:]
        rows.append(line)
    return "\n".join(rows)


for module, (name, what, calendar) in SOURCES.items():
    head = f'"""Weekday holidays of {name}: {what}. Written by {SCRIPT}."""'
    data = f'NAME = "{name}"\nVERSION = "QuantLib {ql.__version__}"\nHOLIDAYS = """\\\n'
    (FOLDER / f"{module}.py").write_text(f'{head}\n\n{data}{wrapped(table(calendar))}\n"""\n')
