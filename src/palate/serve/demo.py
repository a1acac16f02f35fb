"""A living product from the simulated world: a model, a report, people with choices, pairs to choose from.

Everything is made once, in a folder of its own, in less than a minute; the next start finds it there. Who is
shown are people of the world whom the model never saw: their tastes are drawn, not recorded, and the page
says so. One person is new: you.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from palate.core import Population
from palate.feedback import write_jsonl
from palate.feedback.world import World
from palate.serve.settings import Settings
from palate.serve.store import Connection, Store, choices, jobs, keys, people, pool
from palate.serve.store.choices import Kept
from palate.serve.store.clock import now
from palate.serve.wire.rights import SCOPES

__all__ = ["FOLDER", "TENANT", "YOU", "prepare"]

FOLDER = Path("palate-demo")
"""Where the demo lives, below the folder in which it is started."""
TENANT = "demo"
YOU = "you"
"""The person without a choice, for whoever looks."""
SOMEBODY = "Goran"
"""A person who has chosen often."""
QUICK: Mapping[str, Any] = {
    "ranks": (2,),
    "shareds": (1.0,),
    "personals": (0.5,),
    "groups": (3,),
    "inducing": 256,
}
"""Settings of `mixed` that fit in seconds: one candidate of each kind."""
NAMES = (
    "Ada", "Bela", "Chidi", "Dara", "Emil", "Farah", "Goran", "Hana", "Ines", "Jonas",
    "Kofi", "Lena", "Mika", "Nadia", "Omar", "Petra", "Quynh", "Rosa", "Sami", "Tara",
    "Umut", "Vera", "Wen", "Ximena", "Yara", "Zoltan", "Aiko", "Bruno", "Clara", "Deniz",
    "Elif", "Finn", "Greta", "Hugo", "Isla", "Jae", "Kira", "Leo", "Maya", "Nils",
    "Olga", "Paul", "Rana", "Sven", "Tomas", "Uma", "Viktor", "Willa", "Yusuf", "Zoe",
)  # fmt: skip
_TOKEN_DAYS = 7
_POOL = 240


def prepare(settings: Settings) -> tuple[Settings, list[str]]:
    """Make what is missing of the demo, and say where to look.

    Args:
        settings: As given; database, model and report are filled in where they are not.

    Returns:
        Settings to serve with, and lines to print once the server listens; ``{url}`` in them is where.
    """
    folder = FOLDER
    folder.mkdir(exist_ok=True)
    usual = settings.database == Settings().database
    settings = replace(
        settings,
        database=f"sqlite:///{folder / 'palate.db'}" if usual else settings.database,
        model=settings.model or str(_model(folder)),
        report=settings.report or str(_report(folder)),
    )
    with Store.open(settings.database) as store:
        _settle(store)
        secrets = store.write(_secrets)
    return settings, list(_told(*secrets))


def _model(folder: Path) -> Path:
    """Fit mixed with its gate on people of the world."""
    from palate.workshop import fit_model

    path = folder / "model"
    if not (path / "words" / "model.json").exists():
        print("demo: learning what people of a simulated world like (some 10 seconds) ...", flush=True)
        file = write_jsonl(_world(240, 22, seed=1), folder / "people.jsonl")
        fit_model(str(file), "mixed", "lexical+style", 0, dict(QUICK), {}, gate=True).save(path)
    return path


def _report(folder: Path) -> Path:
    """Compare a few methods on other people of the same world."""
    from palate.evaluate.study import Study

    path = folder / "report" / "report.json"
    if not path.exists():
        print("demo: comparing methods on people they never saw (some 10 seconds) ...", flush=True)
        methods: dict[str, Mapping[str, Any]] = {"pooled": {}, "individual": {}, "style": {}, "mixed": QUICK}
        study = Study(world={"users": 160, "pairs": 16, "strength": 2.5}, methods=methods, suite="none")
        study.prepare().run(path.parent)
    return path


def _world(users: int, pairs: int, seed: int) -> Population:
    return World(users=users, pairs=pairs, targets=2, strength=2.5, seed=seed).sample().population


def _settle(store: Store) -> None:
    """Write the people, their choices and the pool, unless they are there."""
    with store.read() as c:
        if people.count(c, TENANT):
            return
    sample = _world(len(NAMES), 44, seed=27)  # a draw whose groups can be told apart with so few people
    rows = list(_choices(sample))
    offers = list(_offers(_world(60, 12, seed=9)))

    def op(c: Connection) -> None:
        choices.add(c, TENANT, rows)
        pool.add(c, TENANT, offers)
        for name in NAMES:
            jobs.queue(c, TENANT, name, now())

    store.write(op)


def _choices(sample: Population) -> Iterator[Kept]:
    """Yield choices of the sample's people under readable names; the first know few, the last many."""
    names = dict(zip(map(str, sample.users), NAMES, strict=True))
    for number in range(sample.n_rows):
        row = sample.row(number)
        place = NAMES.index(names[row.user])
        if sample.rank[number] >= 4 + (7 * place) % 43:
            continue
        body = {
            "conversation": [turn._asdict() for turn in row.conversation],
            "responses": list(row.responses),
            "chosen": row.chosen,
            "source": "simulated",
        }
        yield Kept(names[row.user], row.id, body, row.time)


def _offers(sample: Population) -> Iterator[dict[str, Any]]:
    """Yield pairs to choose from, each once."""
    seen: set[tuple[str, ...]] = set()
    for number in range(sample.n_rows):
        row = sample.row(number)
        key = (row.conversation[-1].content, *sorted(row.responses))
        if key not in seen and len(seen) < _POOL:
            seen.add(key)
            yield {
                "conversation": [turn._asdict() for turn in row.conversation],
                "responses": list(row.responses),
            }


def _secrets(c: Connection) -> Sequence[str]:
    """Make fresh secrets for the operator, for you and for somebody who has chosen often."""
    person = ["feedback", "read", "use", "edit", "erase"]
    of = [(None, "operator of the demo", SCOPES), (YOU, "you", person), (SOMEBODY, SOMEBODY, person)]
    return [keys.make(c, TENANT, user, label, scopes, _TOKEN_DAYS)[1] for user, label, scopes in of]


def _told(operator: str, you: str, somebody: str) -> Iterator[str]:
    yield "This is a demo: its people are simulated, their choices drawn from known tastes."
    yield ""
    yield f"  Choose between answers, and see what is learned of you   {{url}}/choose#token={you}"
    yield f"  What is believed of you                                  {{url}}/me#token={you}"
    yield f"  {f'What is believed of {SOMEBODY}':<55}  {{url}}/me#token={somebody}"
    yield f"  All the people                                           {{url}}/people#token={operator}"
    yield f"  The operator's view                                      {{url}}/operator#token={operator}"
    yield "  The API                                                  {url}/docs"
    yield ""
    yield f"The links work for {_TOKEN_DAYS} days. Everything is kept in {FOLDER}/: delete it to begin anew."
