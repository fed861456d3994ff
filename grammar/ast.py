"""What a statement says, as a tree of immutable values.

Every node is a frozen dataclass with a `span`: the characters of the source it was read from, for messages that
point at them. A node made by a program has the span `NOWHERE`.

Invariants:
  * Spans take no part in equality, hashing and repr: `parse(render(node)) == node`.
  * A node that `render` could not write so that `parse` reads it back is refused, by its types or by an assert.
    The limits on names, depth and length are `parse`'s alone.
  * Names are as the engine sees them: an unquoted name is already in lower case.
  * A list of numbers is always a `VectorLiteral`, never a `ListLiteral`.

The nodes stand in expressions.py, definitions.py, writes.py, reads.py and commands.py; to everyone else a node is
`ast.` and its name.
"""

from __future__ import annotations

from reddb.grammar.commands import Deallocate as Deallocate
from reddb.grammar.commands import Execute as Execute
from reddb.grammar.commands import Explain as Explain
from reddb.grammar.commands import Kill as Kill
from reddb.grammar.commands import Plain as Plain
from reddb.grammar.commands import Prepare as Prepare
from reddb.grammar.commands import ResetVariable as ResetVariable
from reddb.grammar.commands import SessionCommand as SessionCommand
from reddb.grammar.commands import SetVariable as SetVariable
from reddb.grammar.commands import Statement as Statement
from reddb.grammar.definitions import Action as Action
from reddb.grammar.definitions import AddField as AddField
from reddb.grammar.definitions import AlterAlias as AlterAlias
from reddb.grammar.definitions import AlterCollection as AlterCollection
from reddb.grammar.definitions import Checkpoint as Checkpoint
from reddb.grammar.definitions import Compact as Compact
from reddb.grammar.definitions import CreateAlias as CreateAlias
from reddb.grammar.definitions import CreateCollection as CreateCollection
from reddb.grammar.definitions import CreateIndex as CreateIndex
from reddb.grammar.definitions import Definition as Definition
from reddb.grammar.definitions import DropAlias as DropAlias
from reddb.grammar.definitions import DropCollection as DropCollection
from reddb.grammar.definitions import DropField as DropField
from reddb.grammar.definitions import DropIndex as DropIndex
from reddb.grammar.definitions import FieldDefinition as FieldDefinition
from reddb.grammar.definitions import Option as Option
from reddb.grammar.definitions import Rebuild as Rebuild
from reddb.grammar.definitions import Seal as Seal
from reddb.grammar.definitions import SetOptions as SetOptions
from reddb.grammar.definitions import TruncateCollection as TruncateCollection
from reddb.grammar.expressions import ARITHMETIC as ARITHMETIC
from reddb.grammar.expressions import COMPARISONS as COMPARISONS
from reddb.grammar.expressions import DISTANCES as DISTANCES
from reddb.grammar.expressions import NOWHERE as NOWHERE
from reddb.grammar.expressions import VECTOR_DTYPE as VECTOR_DTYPE
from reddb.grammar.expressions import And as And
from reddb.grammar.expressions import Arithmetic as Arithmetic
from reddb.grammar.expressions import Between as Between
from reddb.grammar.expressions import Call as Call
from reddb.grammar.expressions import Cast as Cast
from reddb.grammar.expressions import Column as Column
from reddb.grammar.expressions import Comparison as Comparison
from reddb.grammar.expressions import Default as Default
from reddb.grammar.expressions import Distance as Distance
from reddb.grammar.expressions import Expression as Expression
from reddb.grammar.expressions import Identifier as Identifier
from reddb.grammar.expressions import InList as InList
from reddb.grammar.expressions import Interval as Interval
from reddb.grammar.expressions import IsNull as IsNull
from reddb.grammar.expressions import Like as Like
from reddb.grammar.expressions import ListLiteral as ListLiteral
from reddb.grammar.expressions import Literal as Literal
from reddb.grammar.expressions import Member as Member
from reddb.grammar.expressions import Near as Near
from reddb.grammar.expressions import Negative as Negative
from reddb.grammar.expressions import Node as Node
from reddb.grammar.expressions import Not as Not
from reddb.grammar.expressions import Operation as Operation
from reddb.grammar.expressions import Or as Or
from reddb.grammar.expressions import Overlap as Overlap
from reddb.grammar.expressions import Parameter as Parameter
from reddb.grammar.expressions import Predicate as Predicate
from reddb.grammar.expressions import RowComparison as RowComparison
from reddb.grammar.expressions import Span as Span
from reddb.grammar.expressions import Value as Value
from reddb.grammar.expressions import VectorLiteral as VectorLiteral
from reddb.grammar.expressions import walk as walk
from reddb.grammar.reads import Limit as Limit
from reddb.grammar.reads import OrderBy as OrderBy
from reddb.grammar.reads import Read as Read
from reddb.grammar.reads import Select as Select
from reddb.grammar.reads import SelectItem as SelectItem
from reddb.grammar.reads import Show as Show
from reddb.grammar.reads import Star as Star
from reddb.grammar.reads import StoredRow as StoredRow
from reddb.grammar.reads import StoredRows as StoredRows
from reddb.grammar.reads import Subject as Subject
from reddb.grammar.reads import VectorSearch as VectorSearch
from reddb.grammar.writes import Assignment as Assignment
from reddb.grammar.writes import Begin as Begin
from reddb.grammar.writes import Commit as Commit
from reddb.grammar.writes import Delete as Delete
from reddb.grammar.writes import ExpiresAt as ExpiresAt
from reddb.grammar.writes import Insert as Insert
from reddb.grammar.writes import OnConflict as OnConflict
from reddb.grammar.writes import Rollback as Rollback
from reddb.grammar.writes import Transaction as Transaction
from reddb.grammar.writes import Ttl as Ttl
from reddb.grammar.writes import Update as Update
from reddb.grammar.writes import Write as Write
