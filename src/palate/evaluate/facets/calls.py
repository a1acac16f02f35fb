"""What methods that ask a language model cost: calls, tokens, money, seconds, and what went wrong.

From the ledger of the cell, in which all that the method asked is counted: to learn, to write, to judge, and
to be tested by its gate and at other numbers of choices. A question that was answered from the store, or by a
call that another had on its way, is ``kept``: it was asked and not paid. What the facets of this report asked
of the same models is counted apart. These are totals, no sample of anything, so they have no interval.

    torn      comparisons whose two orders contradict each other: the judge looked at the place
    silent    comparisons of which neither order gave an answer that could be read
    faults    questions without an answer that could be read
    shortened prompts that were longer than the model reads
"""

from collections.abc import Mapping, Sequence
from typing import Any

from palate.evaluate.charts import esc
from palate.evaluate.facets._draw import Dot, Row, note, rows
from palate.evaluate.facets._people import Values, is_personal, plain
from palate.evaluate.measured import Measured
from palate.evaluate.page_tables import table

__all__ = ["NAME", "TITLE", "VERSION", "draw", "measure", "tell"]

NAME, TITLE, VERSION = "calls", "What asking language models costs", 1
COUNTS = ("calls", "tokens_in", "tokens_out", "faults", "shortened", "compared", "torn", "silent", "facets")


def measure(sections: Sequence[Measured]) -> list[Values]:
    """Return the costs of every method that asked a model, in every section that has such a method."""
    out = []
    for section in sections:
        users = max(1, section.task.context.n_users)
        methods = [
            {"method": name, "personal": is_personal(outcome), **_costs(outcome.costs, users)}
            for name, outcome in section.outcomes.items()
            if outcome.costs.get("lm_calls", 0) or outcome.costs.get("lm_kept", 0)
        ]
        if methods:
            methods.sort(key=lambda m: (m["calls"] + m["kept"], m["method"]))
            out.append({**section.place, "users": users, "methods": methods})
    return out


def _costs(costs: Mapping[str, float], users: int) -> Values:
    """Return one method's counts, money (None where no price is known) and seconds, and calls by user."""
    found: Values = {name: int(costs.get(f"lm_{name}", 0)) for name in COUNTS}
    found["kept"] = int(costs.get("lm_kept", 0) + costs.get("lm_shared", 0))
    money = costs.get("lm_money")
    return {
        **found,
        "money": None if money is None else plain(money),
        "seconds": plain(sum(costs.get(part, 0.0) for part in ("fit", "adapt", "score"))),
        "asked_a_user": plain((found["calls"] + found["kept"]) / users),
        "paid_a_user": plain(found["calls"] / users),
    }


def tell(values: Mapping[str, Any]) -> str:
    """Say what the cheapest and the dearest method asked a user, what was paid, and what failed."""
    methods, users = values["methods"], values["users"]
    most = methods[-1]
    told = f"{most['method']} asks most, {_each(most['asked_a_user'])} a user"
    if len(methods) > 1:
        least = methods[0]
        told = f"{least['method']} asks least, {_each(least['asked_a_user'])} a user, and {told}"
    paid, kept = (sum(m[key] for m in methods) for key in ("calls", "kept"))
    tokens = sum(m["tokens_in"] + m["tokens_out"] for m in methods)
    wrong = [f"{total:,} {words}" for words, total in _wrong(methods) if total]
    priced = [m["money"] for m in methods if m["money"] is not None]
    bill = f" at {_money(sum(priced))}" if len(priced) == len(methods) else ""
    return (
        f"On {values['dataset']} with {values['encoder']}, {told} ({users:,} users, all that a method was "
        f"asked for included); {paid:,} calls with {tokens:,} tokens were paid{bill}, {kept:,} were answered "
        f"from what was kept, and {', '.join(wrong) if wrong else 'none failed'}."
    )


def _wrong(methods: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    words = {
        "faults": "calls gave no answer that could be read",
        "silent": "comparisons had no opinion",
        "torn": "of {compared:,} comparisons contradicted themselves when the answers changed places",
        "shortened": "prompts were shortened",
    }
    compared = sum(m["compared"] for m in methods)
    return [(said.format(compared=compared), sum(m[key] for m in methods)) for key, said in words.items()]


def _each(value: float) -> str:
    return f"{value:,.1f} times" if value < 100 else f"{value:,.0f} times"


def _money(value: float) -> str:
    return f"${value:,.2f}" if value >= 0.01 or value == 0 else f"${value:.4f}"


def draw(values: Mapping[str, Any]) -> str:
    """Draw how often each method asks a user, and all counts as a table."""
    table_ = [_row(m) for m in values["methods"]]
    label = f"How often methods ask a language model for a user of {values['dataset']}"
    picture = rows(table_, label, factor=1.0, x_name="questions a user")
    remark = (
        f"Questions a user, {values['users']:,} users: all that was asked for, whether paid now or kept from "
        "before. Totals of this run's cells; they have no interval. Torn: the two orders of a comparison "
        "contradict each other. Money only where prices are known. Facets: what this report's own questions "
        "about a method's personas took beside."
    )
    return picture + _table(values["methods"]) + note(remark)


def _row(found: Mapping[str, Any]) -> Row:
    text = f"{found['method']}: {found['asked_a_user']:,} questions a user, {found['paid_a_user']:,} paid"
    asked = found["asked_a_user"]
    return Row(found["method"], [Dot(asked, text, "s0", 0, 0.0, asked)], f"{asked:,.1f}")


def _table(methods: Sequence[Mapping[str, Any]]) -> str:
    names = ["Paid", "Kept", "Tokens in", "Tokens out", "Money", "Seconds"]
    names += ["Faults", "Shortened", "Torn", "Silent", "Facets"]
    head = ["<th>Method</th>", *(f'<th class="n">{name}</th>' for name in names)]
    body = []
    for m in methods:
        counts = [f"{m[key]:,}" for key in ("calls", "kept", "tokens_in", "tokens_out")]
        counts += ["–" if m["money"] is None else _money(m["money"]), f"{m['seconds']:,.1f}"]
        counts += [f"{m[key]:,}" for key in ("faults", "shortened")]
        share = f" ({100 * m['torn'] / m['compared']:.0f} %)" if m["compared"] else ""
        counts += [f"{m['torn']:,}{share}", f"{m['silent']:,}", f"{m['facets']:,}"]
        cells = "".join(f'<td class="n">{esc(count)}</td>' for count in counts)
        body.append(f'<tr><th scope="row">{esc(m["method"])}</th>{cells}</tr>')
    return table("Costs by method", head, f"<tbody>{''.join(body)}</tbody>")
