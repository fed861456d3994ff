"""Changes of aliases in the catalog, as the supervisor and the embedded database make them.

Invariant: a name is that of a collection or an alias, never both, and an alias stands for a collection that exists.
"""

from __future__ import annotations

from reddb import errors
from reddb.query.plan import AliasChange, AliasPlan, DropAliasPlan
from reddb.storage.catalog import Catalog
from reddb.types import Collection


def put_alias(catalog: Catalog, plan: AliasPlan) -> None:
    """Raises UNKNOWN_COLLECTION, COLLECTION_EXISTS, or INVALID_NAME for an alias that is not there."""
    ids = {collection.name: collection.id for collection in catalog.collections()}
    if plan.name in ids:
        raise errors.COLLECTION_EXISTS.error(f"{plan.name!r} is a collection")
    if plan.collection not in ids:
        raise errors.UNKNOWN_COLLECTION.error(f"there is no collection {plan.collection!r}")
    exists = plan.name in catalog.aliases()
    if exists and plan.change is AliasChange.CREATE:
        raise errors.COLLECTION_EXISTS.error(
            f"{plan.name!r} is an alias already", hint="ALTER ALIAS points it elsewhere"
        )
    if not exists and plan.change is AliasChange.ALTER:
        raise errors.UNKNOWN_COLLECTION.error(f"there is no alias {plan.name!r}", hint="CREATE ALIAS makes it")
    catalog.set_alias(plan.name, ids[plan.collection])


def remove_alias(catalog: Catalog, plan: DropAliasPlan) -> None:
    """Raises UNKNOWN_COLLECTION if there is none, unless that is no matter."""
    if plan.name in catalog.aliases():
        catalog.drop_alias(plan.name)
    elif not plan.if_exists:
        raise errors.UNKNOWN_COLLECTION.error(f"there is no alias {plan.name!r}")


def check_no_aliases(catalog: Catalog, collection: Collection) -> None:
    """Raises COLLECTION_IN_USE naming the aliases of the collection."""
    names = [name for name, wanted in catalog.aliases().items() if wanted == collection.id]
    if names:
        message = f"{collection.name!r} has the alias{'es' if len(names) > 1 else ''} {', '.join(names)}"
        raise errors.COLLECTION_IN_USE.error(message, hint=f"DROP ALIAS {names[0]}, or point it elsewhere, first")
