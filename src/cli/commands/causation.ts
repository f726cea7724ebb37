/**
 * `evsrc causation`: prints what a command caused.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Position } from "../../core/Position.ts"
import * as Causation from "../../history/Causation.ts"
import * as Arguments from "../Arguments.ts"
import { WrongUse } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import { printable, type Style } from "../output/Style.ts"
import * as Stores from "../session/Stores.ts"

const CausationNode = Schema.Union([
  Schema.TaggedStruct("Command", {
    /** How many nodes are above it. Its cause is the nearest node before it with a smaller depth. */
    depth: Schema.Int,
    id: Schema.String,
    name: Schema.NullOr(Schema.String),
    actor: Schema.NullOr(Schema.String),
    stream: Schema.String,
    recordedAt: Schema.DateTimeUtc
  }),
  Schema.TaggedStruct("Event", {
    depth: Schema.Int,
    id: Schema.String,
    type: Schema.String,
    stream: Schema.String,
    version: Schema.Int,
    position: Position,
    recordedAt: Schema.DateTimeUtc
  })
])

type CausationNode = typeof CausationNode.Type

/**
 * The report of `causation`: the nodes of the tree, each after its cause.
 *
 * @since 0.1.0
 * @category schemas
 */
export const CausationTree = Schema.toCodecJson(Schema.Struct({
  correlationId: Schema.String,
  events: Schema.Int,
  /** Whether these are all events of the correlation id. */
  isComplete: Schema.Boolean,
  nodes: Schema.Array(CausationNode)
}))

const nodeOf = (depth: number, node: Causation.Node): CausationNode => {
  if (node._tag === "Command") {
    const { actor, id, name, recordedAt, stream } = node
    return { _tag: "Command", depth, id, name: name ?? null, actor: actor ?? null, stream, recordedAt }
  }
  const { id, position, recordedAt, stream, type, version } = node.event
  return { _tag: "Event", depth, id, type, stream, version, position, recordedAt }
}

/** Returns the nodes, each after its cause. It does not recurse, because a tree may be one long chain. */
const nodesOf = ({ roots }: Causation.CausationTree): ReadonlyArray<CausationNode> => {
  const nodes: Array<CausationNode> = []
  const waiting = roots.toReversed().map((node) => ({ node, depth: 0 }))
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { depth, node } = next
    nodes.push(nodeOf(depth, node))
    const below = node._tag === "Command" ? [...node.events, ...node.caused] : node.caused
    for (const one of below.toReversed()) waiting.push({ node: one, depth: depth + 1 })
  }
  return nodes
}

const lineOf = (style: Style, node: CausationNode): string =>
  "  ".repeat(node.depth) + (node._tag === "Command"
    ? [
      style.as("bold", printable(node.name ?? "a command")),
      `by ${printable(node.actor ?? "an unknown actor")} at ${DateTime.formatIso(node.recordedAt)}`,
      style.as("dim", node.id)
    ].join(" ")
    : [
      style.as("cyan", printable(node.type)),
      `in ${style.as("green", printable(node.stream))} v${node.version}`,
      style.as("dim", `at position ${node.position}`)
    ].join(" "))

const selectorOf = (by: "command" | "event" | "correlation", id: string): Causation.Selector =>
  by === "command" ? { commandId: id } : by === "event" ? { eventId: id } : { correlationId: id }

/**
 * The command `causation`.
 *
 * @since 0.1.0
 * @category commands
 */
export const causation = Command.make(
  "causation",
  {
    id: Argument.String("id").pipe(
      Argument.withDescription("The id of a command; with --by, of an event or a correlation")
    ),
    by: Flag.Literals("by", ["command", "event", "correlation"]).pipe(
      Flag.withDescription("The kind of the id"),
      Flag.withDefault("command")
    ),
    limit: Arguments.limit.pipe(Flag.withDescription("The largest number of events"), Flag.withDefault(10_000))
  },
  Effect.fnUntraced(function*({ by, id, limit }) {
    const found = yield* Causation.of(selectorOf(by, id), { limit })
    if (Option.isNone(found)) {
      return yield* new WrongUse({
        detail: `No event belongs to the ${by} "${id}"; a command that wrote no event is not in the log`
      })
    }
    const tree = found.value
    const { correlationId, events, isComplete } = tree
    const nodes = nodesOf(tree)
    yield* Output.document(CausationTree, { correlationId, events, isComplete, nodes }, (style) => [
      ...nodes.map((node) => lineOf(style, node)),
      ...isComplete ? [] : [style.as("yellow", `Later events are left out; raise --limit above ${limit}`)]
    ])
  }, Effect.provide(Stores.layerWithheld))
).pipe(
  Command.withDescription("Print the commands and events that belong together, each below its cause"),
  Command.withExamples([
    {
      command: "evsrc causation 0196c0de-7a4f-7000-8000-000000000001",
      description: "Print what a command caused, and what caused it"
    }
  ])
)
