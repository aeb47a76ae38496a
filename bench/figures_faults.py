"""What docs/faults.md shows of bench/results: jobs that were killed and started again."""

from __future__ import annotations

from kept import machine, shows


@shows("faults", "Fault trials")
def trials(found: dict) -> str:
    """The tables between the marks of the trials."""
    from niwaki.bench.scale.faults_table import NAMES
    from niwaki.bench.tables import markdown

    f, raw = found["figures"], found["raw"]
    rows = [["jobs", "tried", "survived", "lost", "kills", "of them while a file was written", "files damaged"]]
    keys = ("tried", "survived", "lost", "kills", "kills_while_writing", "files_damaged")
    rows += [[NAMES[name], *(f"{told[key]:,}" for key in keys)] for name, told in f.items()]
    cells = {(each["method"], each["setting"]["name"]): each["kinds"] for each in raw}
    methods = list(dict.fromkeys(each["method"] for each in raw))
    table = [["method: survived of tried", *(NAMES[name] for name in f)]]
    table += [[name, *(_of(cells.get((name, setting))) for setting in f)] for name in methods]
    missed = sum(each["missed"] for each in f.values())
    told = f"`niwaki bench scale faults`, one thread each, {machine(found)}. {missed:,} jobs more were done before the"
    told += " kill came, ended alike, and are not counted."
    return "\n\n".join([markdown(rows), markdown(table), told])


def _of(kinds: dict | None) -> str:
    if kinds is None:
        return ""
    survived, tried = (sum(kind[key] for kind in kinds.values()) for key in ("survived", "tried"))
    return f"{survived} of {tried}"
