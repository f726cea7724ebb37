/**
 * The files of a new project.
 *
 * @since 0.1.0
 */
import { shellWord } from "../output/Style.ts"

const todo = `import { Result, Schema } from "effect"
import { Aggregate, Command, Projection } from "evsrc"

const todoId = Schema.NonEmptyString
const title = Schema.NonEmptyString

export const TodoEvent = Schema.TaggedUnion({
  TodoAdded: { todoId, title },
  TodoDone: { todoId }
})

export class NotAdded extends Schema.TaggedError<NotAdded>()("NotAdded", { todoId: Schema.String }) {}

export const AddTodo = Command.make("AddTodo", { payload: { todoId, title } })
export const FinishTodo = Command.make("FinishTodo", { payload: { todoId }, error: NotAdded })

/** The aggregate: decide returns the events of a command, evolve applies an event to the state. */
export const Todo = Aggregate.make("Todo", {
  id: "todoId",
  state: Schema.Literals(["absent", "open", "done"]),
  events: TodoEvent,
  commands: [AddTodo, FinishTodo]
}).decider({
  initial: "absent",
  evolve: {
    TodoAdded: () => "open",
    TodoDone: () => "done"
  },
  decide: {
    AddTodo: (state, command) => state === "absent" ? [TodoEvent.cases.TodoAdded.make(command)] : [],
    FinishTodo: (state, { todoId }) =>
      state === "absent"
        ? Result.fail(new NotAdded({ todoId }))
        : state === "done" ? [] : [TodoEvent.cases.TodoDone.make({ todoId })]
  }
})

/** The read model. */
export const Todos = Projection.make("todos", {
  events: TodoEvent,
  document: Schema.Struct({ todoId, title, isDone: Schema.Boolean }),
  key: (event) => event.todoId,
  evolve: {
    TodoAdded: (_, { title, todoId }) => ({ todoId, title, isDone: false }),
    TodoDone: (todo) => todo && { ...todo, isDone: true }
  }
})
`

const database = `import { PgClient } from "@effect/sql-pg"
import { Redacted } from "effect"
import { PgliteClient } from "evsrc/pglite"

const url = process.env["DATABASE_URL"]

/** The server of DATABASE_URL, or else an embedded PostgreSQL with its data in the folder .data. */
export const Database = url === undefined
  ? PgliteClient.layer({ dataDir: ".data" })
  : PgClient.layer({ url: Redacted.make(url), keepAlive: "30 seconds" })
`

const main = `import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Effect, Layer, Option } from "effect"
import { Aggregate, CommandBus, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import { Database } from "./database.ts"
import { AddTodo, FinishTodo, Todo, Todos } from "./Todo.ts"

const program = Effect.gen(function*() {
  const todoId = crypto.randomUUID()
  yield* CommandBus.dispatch(AddTodo, { todoId, title: "read the guides" })
  const receipt = yield* CommandBus.dispatch(FinishTodo, { todoId })
  yield* ProjectionStore.awaitPosition(Todos, receipt.position, "10 seconds")
  const todo = yield* ProjectionStore.get(Todos, todoId)
  const { isDone, title } = Option.getOrThrow(todo)
  console.log(\`\${title}: \${isDone ? "done" : "open"}\`)
})

const Main = Layer.mergeAll(Aggregate.layer(Todo), Projector.layer([Todos])).pipe(
  Layer.provideMerge(PgStores.layer),
  Layer.provide(Database)
)

NodeRuntime.runMain(Effect.provide(program, Main))
`

const test = `import { DeciderSpec } from "evsrc/testing"
import { describe, it } from "node:test"
import { AddTodo, FinishTodo, NotAdded, Todo, TodoEvent } from "../src/Todo.ts"

const { TodoAdded, TodoDone } = TodoEvent.cases
const added = TodoAdded.make({ todoId: "1", title: "read the guides" })

describe("a todo", () => {
  it("is added once", () => {
    DeciderSpec.given(Todo, []).when(AddTodo, { todoId: "1", title: "read the guides" }).thenEvents([added])
    DeciderSpec.given(Todo, [added]).when(AddTodo, { todoId: "1", title: "another" }).thenNothing()
  })

  it("is done after it was added", () => {
    DeciderSpec.given(Todo, [added]).when(FinishTodo, { todoId: "1" }).thenEvents([TodoDone.make({ todoId: "1" })])
    DeciderSpec.given(Todo, []).when(FinishTodo, { todoId: "1" }).thenFails(new NotAdded({ todoId: "1" }))
  })
})
`

const config = `import { EvsrcConfig } from "evsrc/cli"
import { Database } from "./src/database.ts"
import { Todo, Todos } from "./src/Todo.ts"

export default EvsrcConfig.make({
  database: Database,
  aggregates: [Todo],
  projections: [Todos]
})
`

const tsconfig = {
  compilerOptions: {
    target: "ES2024",
    lib: ["ES2024"],
    types: ["node"],
    module: "NodeNext",
    strict: true,
    exactOptionalPropertyTypes: true,
    erasableSyntaxOnly: true,
    verbatimModuleSyntax: true,
    allowImportingTsExtensions: true,
    skipLibCheck: true,
    noEmit: true
  },
  include: ["src", "test", "*.ts"]
}

/**
 * The versions of the packages that a project needs.
 *
 * @since 0.1.0
 * @category options
 */
export interface Versions {
  /** The version, or the file, that npm installs as evsrc. */
  readonly evsrc: string
  /** The peers of evsrc, by their names. */
  readonly peers: Readonly<Record<string, string>>
}

/**
 * The files that an existing project keeps as its own.
 *
 * @since 0.1.0
 * @category options
 */
export const ofProject: ReadonlyArray<string> = ["package.json", "tsconfig.json", ".gitignore"]

/**
 * Returns what to run, and what to check, in a project that has some of these files already.
 *
 * @since 0.1.0
 * @category accessors
 */
export const stepsFor = (kept: ReadonlyArray<string>, { evsrc, peers }: Versions): ReadonlyArray<string> => {
  const packages = Object.entries({ ...peers, evsrc }).map(([name, version]) => shellWord(`${name}@${version}`))
  return [
    ...kept.includes("package.json")
      ? [
        `npm install ${packages.join(" ")}`,
        "npm install --save-dev @types/node",
        "In package.json, set \"type\": \"module\""
      ]
      : ["npm install"],
    ...kept.includes("tsconfig.json")
      ? ["In tsconfig.json, set: allowImportingTsExtensions, noEmit, strict; and include evsrc.config.ts"]
      : [],
    ...kept.includes(".gitignore") ? ["In .gitignore, add .data, the folder of the embedded database"] : []
  ]
}

const manifest = (name: string, { evsrc, peers }: Versions) => ({
  name,
  version: "0.0.0",
  private: true,
  type: "module",
  scripts: {
    start: "node src/main.ts",
    test: "node --test",
    check: "tsc",
    migrate: "evsrc migrate",
    status: "evsrc status"
  },
  dependencies: { ...peers, evsrc },
  devDependencies: { "@types/node": "^24.0.0", typescript: "^7.0.0" }
})

const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`

/**
 * Returns the files of a new project, by their paths.
 *
 * @since 0.1.0
 * @category constructors
 */
export const filesOf = (name: string, versions: Versions): Readonly<Record<string, string>> => ({
  "package.json": json(manifest(name, versions)),
  "tsconfig.json": json(tsconfig),
  ".gitignore": ".data\nnode_modules\n",
  "evsrc.config.ts": config,
  "src/Todo.ts": todo,
  "src/database.ts": database,
  "src/main.ts": main,
  "test/Todo.test.ts": test
})
