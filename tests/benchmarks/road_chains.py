"""What the road computes while it is measured: a chain of ten kernels on trades, and one of one."""

import shutil
from pathlib import Path

TEN = [
    {"kernel": "log_returns"},
    {"kernel": "ewma", "column": "log_return", "alpha": 0.06},
    {"kernel": "rolling_zscore", "column": "log_return", "window": 100},
    {"kernel": "rolling_zscore", "column": "price", "window": 100, "output": "price_zscore"},
    {"kernel": "rolling_min", "window": 100},
    {"kernel": "rolling_max", "window": 100},
    {"kernel": "rsi"},
    {"kernel": "ewma", "column": "price", "alpha": 0.1, "output": "price_ewma"},
    {"kernel": "vwap"},
    {"kernel": "realized_var", "column": "log_return", "window": 100},
]
ONE = [{"kernel": "vwap"}]
CHAINS = {"ten": TEN, "one": ONE}
OUTPUTS = {"ten": 10, "one": 1}
PARTITIONS = 2  # as the nodes of `make up`: one a worker


def write_nodes(folder: Path, nodes: tuple[str, ...]) -> None:
    """Write a universe.toml for every node, each with both chains."""
    for node in nodes:
        peers = [f'"{name}"' for name in nodes if name != node]
        lines = [f'node = "{node}"', f"peers = [{', '.join(peers)}]"]
        lines += [f"partitions = {PARTITIONS}", "[chains]"]
        for name, steps in CHAINS.items():
            lines.append(f"{name} = [{', '.join(map(_table, steps))}]")
        shutil.rmtree(folder / node, ignore_errors=True)
        (folder / node).mkdir(parents=True)
        (folder / node / "universe.toml").write_text("\n".join(lines) + "\n")


def _table(step: dict[str, object]) -> str:
    pairs = [f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in step.items()]
    return f"{{ {', '.join(pairs)} }}"
