"""Users whose persona is to be made anew from the whole history, taken by lease.

A worker takes jobs for some seconds; one that dies lets its lease run out, and another takes them again. A
user who chooses again meanwhile is queued again: ``due`` changes, so that ``done`` of the job that was taken
leaves the new one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, case, delete, func, literal, or_, select, update
from sqlalchemy.types import Float, Integer

from palate.serve.store import clock
from palate.serve.store.schema import jobs, personas, users
from palate.serve.store.sql import Prepared, changed, upsert

__all__ = ["LONGEST_WAIT", "Job", "counts", "done", "failed", "queue", "queue_all", "take"]

LONGEST_WAIT = 3600.0
"""Most seconds until a job that keeps failing is tried again; it begins with 5 and doubles."""


@dataclass(frozen=True, slots=True)
class Job:
    """A user whose persona is to be made anew, held until ``lease``."""

    tenant: str
    user: str
    due: float
    lease: float
    tries: int


_WHO = and_(users.c.tenant == bindparam("tenant"), users.c.user == bindparam("user"))
_FIELDS = ["tenant", "user", "due", "tries", "lease"]
_DUE, _NONE, _FREE = bindparam("due", type_=Float), literal(0, Integer), literal(0.0, Float)
_QUEUE = upsert(
    lambda insert: (
        made := insert(jobs).from_select(
            _FIELDS, select(users.c.tenant, users.c.user, _DUE, _NONE, _FREE).where(_WHO)
        )
    ).on_conflict_do_update(
        index_elements=["tenant", "user"],
        set_={
            "due": case(
                (jobs.c.lease > bindparam("now", type_=Float), made.excluded.due),  # taken: once more
                (jobs.c.tries > 0, jobs.c.due),  # fails: as late as was set
                (jobs.c.due < made.excluded.due, jobs.c.due),
                else_=made.excluded.due,
            )
        },
    )
)
_QUEUED = Prepared(_QUEUE)
_QUEUE_ALL = upsert(
    lambda insert: (
        insert(jobs)
        .from_select(
            _FIELDS,
            select(personas.c.tenant, personas.c.user, _DUE, _NONE, _FREE).where(
                or_(personas.c.model < bindparam("model"), personas.c.model > bindparam("model"))
            ),
        )
        .on_conflict_do_nothing(index_elements=["tenant", "user"])
    )
)
_TAKE = (
    select(jobs.c.tenant, jobs.c.user, jobs.c.due, jobs.c.tries)
    .where(jobs.c.due <= bindparam("now"), jobs.c.lease <= bindparam("now"))
    .order_by(jobs.c.due)
    .limit(bindparam("most"))
)
_THIS = and_(jobs.c.tenant == bindparam("t"), jobs.c.user == bindparam("u"))
_TAKEN = update(jobs).where(_THIS).values(lease=bindparam("until"))
_HELD = and_(_THIS, jobs.c.lease == bindparam("l"))
_DONE = delete(jobs).where(_HELD, jobs.c.due == bindparam("d"))
_FREED = update(jobs).where(_HELD).values(lease=0.0, tries=0, fault=None)
_FAILED = (
    update(jobs)
    .where(_HELD)
    .values(lease=0.0, tries=bindparam("n"), due=bindparam("later"), fault=bindparam("why"))
)
_COUNT = select(func.count(), func.coalesce(func.sum(case((jobs.c.tries > 0, 1), else_=0)), 0)).select_from(
    jobs
)
_COUNT_OF = _COUNT.where(jobs.c.tenant == bindparam("tenant"))


def queue(c: Connection, tenant: str, user: str, due: float) -> bool:
    """Queue a user; one who waits already keeps the earlier time. Returns False if the user is not there."""
    values = {"tenant": tenant, "user": user, "due": due, "now": clock.now()}
    return bool(_QUEUED(c, values).changed)


def queue_all(c: Connection, model: str) -> int:
    """Queue every user whose persona is of another model than this; returns how many are new."""
    return changed(c, _QUEUE_ALL[c.dialect.name], {"model": model, "due": clock.now()})


def take(c: Connection, limit: int, lease_s: float) -> list[Job]:
    """Take jobs that are due and that nobody holds, the longest due first.

    Args:
        c: Where to write.
        limit: Most jobs.
        lease_s: Seconds until another worker may take them.
    """
    now = clock.now()
    until = now + lease_s
    found = [
        Job(tenant, user, due, until, tries)
        for tenant, user, due, tries in c.execute(_TAKE, {"now": now, "most": limit})
    ]
    if found:
        c.execute(_TAKEN, [{"t": job.tenant, "u": job.user, "until": until} for job in found])
    return found


def done(c: Connection, taken: Sequence[Job]) -> None:
    """Strike jobs off; a user who was queued again meanwhile stays queued."""
    for job in taken:
        whose = {"t": job.tenant, "u": job.user, "l": job.lease}
        if not c.execute(_DONE, {**whose, "d": job.due}).rowcount:
            c.execute(_FREED, whose)


def failed(c: Connection, job: Job, fault: str) -> None:
    """Have a job tried again later, each time twice as late.

    Args:
        c: Where to write.
        job: As it was taken.
        fault: The kind of error; no text of the user's.
    """
    wait = min(LONGEST_WAIT, 5.0 * 2 ** min(job.tries, 20))
    values = {"n": job.tries + 1, "later": clock.now() + wait, "why": fault[:200]}
    c.execute(_FAILED, {"t": job.tenant, "u": job.user, "l": job.lease, **values})


def counts(c: Connection, tenant: str | None = None) -> tuple[int, int]:
    """Return how many jobs wait or are being done, and how many of them have failed before."""
    row = (c.execute(_COUNT) if tenant is None else c.execute(_COUNT_OF, {"tenant": tenant})).one()
    return int(row[0]), int(row[1])
