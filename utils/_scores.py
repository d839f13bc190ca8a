"""What the tables and figures of leaderboards say: cells, titles, intervals."""

# Heading of each column of the leaderboards, the number in it and how that is written.
SCORE_COLUMNS = {
    "model": ("model", "{}"),
    "translator": ("model", "{}"),
    "BLEU": ("bleu", "{:.1f}"),
    "chrF": ("chrf", "{:.1f}"),
    "test accuracy": ("accuracy", "{:.1%}"),
    "next token": ("accuracy", "{:.1%}"),
    "95% interval": ("interval", "{}"),
    "parameters": ("parameters", "{:,}"),
    "training": ("seconds", "{:.0f} s"),
    "sentences/s": ("throughput", "{:,.0f}"),
    "notebook": ("notebook", "{:.2}"),
}


def table(rows: list[dict], headings: list[str]) -> list[dict]:
    """Return the cells of a leaderboard, by heading; what a row lacks stays empty."""
    cells_of_rows = []
    for row in rows:
        cells = {}
        for heading in headings:
            key, fmt = SCORE_COLUMNS[heading]
            cells[heading] = "" if row.get(key) is None else fmt.format(row[key])
        cells_of_rows.append(cells)
    return cells_of_rows


def title(rows: list[dict], same: str, items: str, unknown: str) -> str:
    """Return `same` if all rows were tested on equally many items, `unknown` if a row lacks it."""
    numbers = [row.get("tested") or 0 for row in rows] or [0]
    if 0 in numbers:
        return unknown
    if min(numbers) == max(numbers):
        return same.format(numbers[0])
    return f"Not the same test set: {min(numbers):,} to {max(numbers):,} {items}"


def accuracy_interval(accuracy: float, tested: int) -> tuple[float, float]:
    """Return the 95% interval of an accuracy on `tested` samples."""
    from utils.metrics import intervals

    return intervals.proportion_interval(round(accuracy * tested), tested)
