"""Runs the statements that are no searches, each in a task of its own: plans to results."""

from __future__ import annotations

from reddb.partition.explain import explain_steps
from reddb.query.execute import view_steps
from reddb.query.plan import (
    CatalogPlan,
    ChangePlan,
    ExplainPlan,
    KillPlan,
    Plan,
    ReadPlan,
    SearchPlan,
    ShowPlan,
    ViewPlan,
    WorkPlan,
    WritePlan,
)
from reddb.query.write_plans import TransactionCommand, TransactionPlan
from reddb.requests import affected, changed_result, results, write_message
from reddb.server.service import Service
from reddb.server.slices import in_slices
from reddb.session import SessionState
from reddb.wire.messages import Query, Result


def may_be_left(bound: Plan | TransactionPlan) -> bool:
    """Whether a statement may be left half-way: it changes nothing, or (SEAL, …) goes on without whoever waits."""
    return isinstance(bound, ReadPlan | ViewPlan | ShowPlan | ExplainPlan | WorkPlan)


async def run_statement(
    service: Service, session: SessionState, message: Query, bound: Plan | TransactionPlan
) -> list[Result]:
    """Run a plan, which is what `message` says, and give its result in parts. Raises what it is refused with."""
    if isinstance(bound, CatalogPlan):
        await service.change(bound)
        return [affected(None)]
    match bound:
        case ShowPlan():
            return results(await service.show(bound, session))
        case ViewPlan():
            return results(await in_slices(view_steps(bound, await service.view(bound.view, session))))
        case KillPlan():
            await service.kill(bound)
            return [affected(None)]
        case ExplainPlan():
            if isinstance(bound.plan, ViewPlan):
                table = await service.view(bound.plan.view, session)
                return results(await in_slices(explain_steps(bound, None, table)))
            reader = await service.reader(bound.plan.collection)
            return results(await in_slices(explain_steps(bound, reader)))
        case TransactionPlan():
            return [affected((await service.writes.transact(bound)).count)]
        case ChangePlan():
            return changed_result(await service.writes.change(bound), bound)
        case WritePlan() if not bound.is_plain:
            return changed_result(await service.writes.change(bound), bound)
        case WorkPlan():
            await service.work(message, bound)
            return [affected(None)]
        case WritePlan():
            return [affected((await service.write(write_message(bound))).count)]
        case _:
            assert not isinstance(bound, SearchPlan), "a search goes on with those of its turn"
            assert not isinstance(bound, TransactionCommand), "it is the session's"
            reader = await service.reader(bound.collection)
            return results(await in_slices(reader.read_steps(bound)))
