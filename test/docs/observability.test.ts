/** Executes the code of docs/observability.md, and compares its lists with the code and with the example program as it runs. */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Layer, Metric, Schedule, Schema } from "effect"
import { FetchHttpClient } from "effect/http"
import { Otlp } from "effect/observability"
import { Aggregate, Command, CommandBus, EventStore, Metrics } from "evsrc"
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { end, running } from "../examples/MainProgram.ts"
import { at, poll } from "../examples/UsersProgram.ts"
import * as Collector from "../support/Collector.ts"
import { needs } from "../support/needs.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import * as PromQL from "../support/PromQL.ts"
import { read, root, section, tableOf } from "./Markdown.ts"

const guide = read("docs/observability.md")
const namesIn = (cell = ""): ReadonlyArray<string> => Array.from(cell.matchAll(/`([^`]+)`/g), ([, name]) => name!)

/** Cells lose the backticks around a single name. */
const cellNames = (cell = ""): ReadonlyArray<string> => cell === "" || cell.includes("`") ? namesIn(cell) : [cell]

const rowsOf = (heading: string) => tableOf(section(guide, heading))
const spanRows = rowsOf("## Traces").map(([name = "", attributes]) => ({ name, attributes: cellNames(attributes) }))
const metricRows = rowsOf("## Metrics").map(([id = "", type, unit = "", labels, meaning = ""]) => ({
  id,
  type,
  unit,
  labels: cellNames(labels),
  meaning
}))
const lineRows = rowsOf("## Log lines").map(([event = "", line = "", annotations]) => ({
  event,
  line,
  annotations: cellNames(annotations)
}))

const sources = Fs.readdirSync(Path.join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts") && !name.startsWith("testing"))
  .map((name) => read(`src/${name}`))

describe("the list of spans", () => {
  it("has the names in the code", () => {
    const made = sources.flatMap((source) =>
      Array.from(
        // The name comes first, or after the effect and before the attributes.
        source.matchAll(
          /(?:Effect\.fn\(|withSpan\((?:[\w()]+, )?\s*|^\s+(?=[^\n]+,\n\s+\{\s+"evsrc\.))["`]([^"`]+)["`]/gm
        ),
        ([, span]) => span!.replace(/\$\{(\w+)\._tag\}/, "<$1>")
      )
    )
    assert.isAbove(made.length, 30)
    assert.sameMembers(spanRows.map(({ name }) => name), Array.from(new Set(made)))
  })

  it("has the attributes in the code", () => {
    const used = sources.flatMap((source) =>
      Array.from(source.matchAll(/"(evsrc\.[\w.]+)": /g), ([, name]) => name!).filter((name) => !name.endsWith(".ts"))
    )
    assert.sameMembers(
      Array.from(new Set(spanRows.flatMap(({ attributes }) => attributes))),
      Array.from(new Set(used))
    )
  })
})

describe("the list of metrics", () => {
  const declared = Object.values(Metrics).flatMap((value: unknown) => Metric.isMetric(value) ? [value] : [])

  it("has the names and types in the code", () => {
    assert.sameDeepMembers(
      metricRows.map(({ id, type }) => [id, type]),
      declared.map(({ id, type }) => [id, type.toLowerCase()])
    )
  })

  it("has the labels that the code declares", () => {
    const source = read("src/core/telemetry/Metrics.ts")
    const labels = Array.from(
      source.matchAll(/\/\*\*([^]*?)\*\/\nexport const \w+ = Metric\.\w+\("(\w+)"/g),
      ([, comment = "", id]) => {
        const [, list = ""] =
          /by\s+(?:\*\s+)?the\s+(?:\*\s+)?attributes?\s+((?:`\w+`(?:,| and)?\s*(?:\*\s+)?)+)/.exec(comment) ?? []
        return [id, namesIn(list)]
      }
    )
    assert.strictEqual(labels.length, declared.length)
    assert.sameDeepMembers(metricRows.map(({ id, labels }) => [id, labels]), labels)
  })

  it("has the units in the names", () => {
    for (const { id, meaning, type, unit } of metricRows) {
      assert.isNotEmpty(unit, id)
      assert.isNotEmpty(meaning, id)
      assert.strictEqual(unit === "seconds", id.endsWith("_seconds"), id)
      assert.strictEqual(type === "counter", id.endsWith("_total"), id)
    }
  })
})

it("the list of log lines has the events and annotations in the code", () => {
  const [type = ""] = /export type LogEvent =[^]*?\n\n/.exec(read("src/core/telemetry/logEvent.ts")) ?? []
  assert.sameMembers(lineRows.map(({ event }) => event), Array.from(type.matchAll(/"([^"]+)"/g), ([, name]) => name!))
  assert.deepStrictEqual(sources.filter((source) => /Effect\.logInfo\(/.test(source)).length, 1, "logEvent.ts alone")
})

const Order = Schema.TaggedUnion({ OrderPlaced: { orderId: Schema.String } })
const PlaceOrder = Command.make("PlaceOrder", { payload: { orderId: Schema.String } })
const Orders = Aggregate.make("Order", {
  id: "orderId",
  state: Schema.Struct({}),
  events: Order,
  commands: [PlaceOrder]
}).decider({
  initial: {},
  evolve: { OrderPlaced: (state) => state },
  decide: { PlaceOrder: (_, placed) => [Order.cases.OrderPlaced.make(placed)] }
})
const Shop = Aggregate.layer(Orders).pipe(Layer.provide(EventStore.layerMemory))

it.live("the layer exports the spans and metrics of a command", () =>
  Effect.gen(function*() {
    const collector = yield* Collector.make()

    const Telemetry = Otlp.layerJson({ baseUrl: collector.url, resource: { serviceName: "shop" } }).pipe(
      Layer.provide(FetchHttpClient.layer)
    )

    const program = CommandBus.dispatch(PlaceOrder, { orderId: "1" }).pipe(
      Effect.provide(Shop),
      Effect.provide(Telemetry)
    )

    yield* program
    assert.includeMembers(collector.spans().map(({ name }) => name), ["CommandBus.dispatch PlaceOrder"])
    assert.include(Array.from(collector.metrics()), "evsrc_commands_total")
  }))

/** What the example program has shown of itself, from its start over an outage of the database to its stop. */
interface Shown {
  readonly spans: ReadonlyArray<Collector.Span>
  /** The lines of evsrc, in order. */
  readonly lines: ReadonlyArray<{ readonly level: string; readonly text: string; readonly annotations: object }>
  readonly metrics: ReadonlyMap<string, ReadonlySet<string>>
}

const runExample = Effect.gen(function*() {
  const collector = yield* Collector.make()
  const server = yield* PostgresServer.make({ settings: { fsync: "off" } })
  const env = { DATABASE_URL: server.url, OTEL_EXPORTER_OTLP_PROTOCOL: "http/json", OTEL_BSP_SCHEDULE_DELAY: "100" }
  const first = yield* running(env)
  const program = yield* running({ ...env, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url })
  const send = (path: string, body: unknown) => Effect.promise(() => program.ask("POST", path, { body }))
  const linesOf = Effect.map(program.stderr, (text) =>
    text.split("\n").flatMap((line) => {
      if (line === "") return []
      const parsed: unknown = JSON.parse(line)
      return [{
        level: String(at(parsed, "level")),
        text: [at(parsed, "message")].flat().map(String).join(" "),
        annotations: Object(at(parsed, "annotations"))
      }]
    }))
  const untilLogged = (what: string, count: number) =>
    linesOf.pipe(
      Effect.repeat({
        until: (lines) => lines.filter(({ annotations }) => at(annotations, "event") === what).length >= count,
        schedule: Schedule.spaced("100 millis")
      }),
      Effect.timeout("2 minutes")
    )
  const untilLive = Effect.promise(() => poll(() => program.ask("GET", "/health"), ({ status }) => status === 200))
  yield* untilLive
  // The leases of a program that is killed end by themselves.
  yield* first.signal("SIGKILL")
  yield* untilLogged("partitions.takenOver", 1)
  yield* untilLive
  yield* send("/users", { userId: "ann", email: "ann@example.com", name: "Ann" })
  yield* send("/users", { userId: "ann", email: "ann@example.com", name: "Ann" })
  yield* send("/stock/lamp/deliveries", { quantity: 1 })
  yield* send("/orders", { orderId: "o-1", product: "lamp", quantity: 1, amount: 900, address: "Main Street 1" })
  yield* Effect.promise(() =>
    poll(() => program.ask("GET", "/orders/o-1"), ({ json }) => at(json, "isReserved") === true)
  )
  yield* server.stop
  yield* Effect.promise(() => poll(() => program.ask("GET", "/users/ann"), ({ status }) => status === 503))
  yield* Effect.promise(() =>
    poll(() => program.ask("GET", "/metrics"), ({ text }) => text.includes("evsrc_store_errors_total"))
  )
  // A consumer without work notices the outage by its next heartbeat, and the connection for notifications by its next attempt.
  yield* linesOf.pipe(
    Effect.repeat({
      until: (lines) => {
        const consumers = lines.flatMap(({ annotations }) =>
          at(annotations, "event") === "consumers.started" ? [at(annotations, "consumers")].flat() : []
        )
        const warnings = lines.flatMap(({ level, text }) => level === "WARN" ? [text] : [])
        return [...consumers.map((consumer) => `${String(consumer)} is retrying: `), "Cannot listen"].every((begin) =>
          warnings.some((text) => text.startsWith(begin))
        )
      },
      schedule: Schedule.spaced("100 millis")
    }),
    Effect.timeout("1 minute")
  )
  yield* server.start
  yield* untilLive
  yield* Effect.promise(() => poll(() => program.ask("GET", "/users/ann?after=1"), ({ status }) => status === 200))
  const failed = (yield* linesOf).filter(({ level, text }) =>
    level === "WARN" && / is retrying: |Cannot listen/.test(text)
  )
  yield* untilLogged("outage.ended", failed.length)
  const { text } = yield* Effect.promise(() => program.ask("GET", "/metrics"))
  yield* end(program, "SIGTERM")
  return { spans: collector.spans(), lines: yield* linesOf, metrics: PromQL.seriesOf(text) }
})

describe("the example program", () => {
  let shown: Shown
  beforeAll(async () => {
    shown = await Effect.runPromise(Effect.scoped(runExample))
  }, 240_000)

  const linesOf = (event: string) => shown.lines.filter(({ annotations }) => at(annotations, "event") === event)

  it("has one line for each start, recovery, takeover and stop of its consumers", () => {
    const consumersOf = (event: string, key: string) =>
      linesOf(event).flatMap(({ annotations }) => at(annotations, key))
    const consumers = consumersOf("consumers.started", "consumers").map(String)
    assert.isNotEmpty(consumers)
    assert.sameMembers(consumersOf("consumers.stopped", "consumers").map(String), consumers)
    assert.deepStrictEqual(consumers, Array.from(new Set(consumers)), "a line for each consumer")
    const ended = consumersOf("outage.ended", "subject").map(String)
    // On a busy machine one may fail and recover twice, with a warning each time.
    assert.isAtMost(ended.length, shown.lines.filter(({ level }) => level === "WARN").length)
    assert.includeMembers(ended, [...consumers, "Listening for events of other processes"])
    const takenOver = consumersOf("partitions.takenOver", "consumer").map(String)
    assert.sameMembers(Array.from(new Set(takenOver)), consumers)
  })

  it("logs the lines of the list, with their annotations", () => {
    const shape = (text: string) =>
      text.replace(/ (runs|stopped|partition)s? .*/, " $1").replace(
        /^\S+@\d+|^Listening for .* processes|^The [\w ]+? (?=has )|^the timer of .*" /,
        ""
      )
        .replaceAll(/\d+(\.\d+)?(ms|s|m)?/g, "N").replace(/(Projector|Subscription)\.layer/, "L").replace(
          /(N )+N$/,
          "N"
        ).trim()
    const seen = new Set<string>()
    for (const { annotations, level, text } of shown.lines) {
      const event = at(annotations, "event")
      if (event === undefined) {
        assert.isFalse(level === "INFO" && text !== "Sent HTTP response" && !text.startsWith("Listening on"), text)
        continue
      }
      const row = lineRows.find((one) => one.event === event)
      assert.isDefined(row, text)
      seen.add(row.event)
      assert.strictEqual(level, "INFO", text)
      assert.includeMembers(Object.keys(annotations), [...row.annotations], text)
      if (event !== "outage.ended" && event !== "health.restored") assert.strictEqual(shape(text), shape(row.line))
      else {assert.match(
          text,
          event === "outage.ended" ? / has recovered after \S+/ : /^Health: .+ is green again after \S+/
        )}
    }
    assert.includeMembers(Array.from(seen), [
      "consumers.started",
      "consumers.stopped",
      "outage.ended",
      "partitions.takenOver"
    ])
  })

  it("has spans with the attributes of the list", () => {
    for (const { attributes, name } of shown.spans) {
      const row = spanRows.find((one) =>
        one.name ===
          name.replace(
            /^(CommandBus\.dispatch|QueryBus\.ask) .*/,
            (_, of: string) => of === "QueryBus.ask" ? `${of} <query>` : `${of} <command>`
          )
      )
      const own = Object.keys(attributes).filter((key) => key.startsWith("evsrc."))
      if (row === undefined) assert.deepStrictEqual(own, [], name)
      else assert.sameMembers(own, [...row.attributes], name)
    }
    const names = shown.spans.map(({ name }) => name)
    assert.includeMembers(names, ["Aggregate.load", "Consumer.handle", "Consumer.step", "EventStore.append"])
  })

  it("has metrics with the labels of the list", () => {
    const own = Array.from(shown.metrics).filter(([name]) => name.startsWith("evsrc_"))
    assert.isAbove(own.length, 20)
    for (const [name, labels] of own) {
      const row = metricRows.find(({ id }) => id === name)
        ?? metricRows.find(({ id, type }) => type === "histogram" && id === name.replace(/_(bucket|sum|count)$/, ""))
      assert.isDefined(row, name)
      assert.sameMembers(Array.from(labels), [...row.labels, ...name.endsWith("_bucket") ? ["le"] : []], name)
    }
  })

  const check = (expression: string) => {
    const { groupings, selectors } = PromQL.parse(expression)
    assert.isNotEmpty(selectors, expression)
    const known = new Set<string>()
    for (const { labels, metric } of selectors) {
      const exported = shown.metrics.get(metric)
      assert.isDefined(exported, `${metric} of ${expression}`)
      assert.includeMembers(Array.from(exported), [...labels], expression)
      for (const label of exported) known.add(label)
    }
    assert.includeMembers(Array.from(known), [...groupings], expression)
  }

  it("exports the metrics and labels of the dashboard", () => {
    const expressions = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
    assert.isAbove(expressions.length, 20)
    expressions.forEach(check)
  })

  it("exports the metrics and labels of the alert rules", () => {
    assert.isAbove(rules.length, 10)
    for (const { expr = "" } of rules) check(expr.replace(/^'(.*)'$/, "$1"))
  })
})

const Target = Schema.Struct({ refId: Schema.String, expr: Schema.NonEmptyString, legendFormat: Schema.String })
const Panel = Schema.Struct({
  id: Schema.Int,
  type: Schema.Literals(["row", "timeseries"]),
  title: Schema.NonEmptyString,
  gridPos: Schema.Struct({ h: Schema.Int, w: Schema.Int, x: Schema.Int, y: Schema.Int }),
  datasource: Schema.optionalKey(
    Schema.Struct({ type: Schema.Literal("prometheus"), uid: Schema.Literal("${datasource}") })
  ),
  targets: Schema.optionalKey(Schema.Array(Target))
})
const Dashboard = Schema.Struct({
  title: Schema.Literal("evsrc"),
  uid: Schema.NonEmptyString,
  schemaVersion: Schema.Int,
  templating: Schema.Struct({
    list: Schema.Tuple([Schema.Struct({
      name: Schema.Literal("datasource"),
      type: Schema.Literal("datasource"),
      query: Schema.Literal("prometheus")
    })])
  }),
  panels: Schema.Array(Panel)
})
const dashboard = Schema.decodeUnknownSync(Schema.fromJsonString(Dashboard))(read("docs/grafana-dashboard.json"))

/** The rules of docs/alerts.yml, in which each value is on the line of its key. */
const rules = read("docs/alerts.yml").split("      - alert: ").slice(1).map((rule) => {
  const value = (key: string) => new RegExp(`^ +${key}: (.+)$`, "m").exec(rule)?.[1]
  return {
    name: rule.split("\n")[0]!,
    expr: value("expr"),
    for: value("for"),
    severity: value("severity"),
    summary: value("summary"),
    description: value("description")
  }
})

describe("the dashboard", () => {
  it("has rows for each part, panels with targets, and unique ids", () => {
    assert.deepStrictEqual(dashboard.panels.filter(({ type }) => type === "row").map(({ title }) => title), [
      "Commands",
      "Appends",
      "Reads",
      "Consumers",
      "Parked keys",
      "Process managers and deadlines",
      "Pool",
      "Errors"
    ])
    assert.isAtLeast(dashboard.schemaVersion, 39)
    const ids = dashboard.panels.map(({ id }) => id)
    assert.deepStrictEqual(ids, Array.from(new Set(ids)))
    for (const { datasource, targets, title, type } of dashboard.panels) {
      if (type === "row") continue
      assert.isDefined(datasource, title)
      assert.isNotEmpty(targets, title)
    }
  })

  it("has no panels that overlap or exceed the width", () => {
    const taken = new Map<string, string>()
    for (const { gridPos: { h, w, x, y }, title } of dashboard.panels) {
      assert.isAtMost(x + w, 24, title)
      for (let column = x; column < x + w; column++) {
        for (let line = y; line < y + h; line++) {
          assert.isUndefined(taken.get(`${column} ${line}`), title)
          taken.set(`${column} ${line}`, title)
        }
      }
    }
  })
})

describe("the alert rules", () => {
  it("have a name, an expression, a time, a severity and a text each", () => {
    assert.deepStrictEqual(rules.map(({ name }) => name), Array.from(new Set(rules.map(({ name }) => name))))
    for (const { description, expr, for: duration, name, severity, summary } of rules) {
      assert.match(name, /^Evsrc[A-Z]\w+$/)
      assert.isDefined(expr, name)
      assert.match(duration ?? "", /^\d+[mh]$/, name)
      assert.match(severity ?? "", /^(warning|critical)$/, name)
      for (const text of [summary, description]) assert.match(text ?? "", /^'[^']+'$/, name)
    }
  })

  const hasPromtool = () => {
    try {
      execFileSync("promtool", ["--version"], { stdio: "ignore" })
      return true
    } catch {
      return false
    }
  }

  it("satisfy promtool", needs("promtool", hasPromtool()), () => {
    execFileSync("promtool", ["check", "rules", Path.join(root, "docs/alerts.yml")], { stdio: "pipe" })
  })
})

it("a parser of expressions rejects what it does not know", () => {
  for (
    const wrong of ["sum(", "rate(a[5m]", "a{b=c}", "a b", "unknown(a)", "a{b=\"c\"", "sum by (a b) (c)", "a > ", "a;b"]
  ) {
    assert.throws(() => PromQL.parse(wrong), /expected|unknown/, wrong)
  }
  assert.deepStrictEqual(PromQL.parse("sum by (a) (rate(b{c=\"d\"}[5m])) > 0.5 * e"), {
    selectors: [{ metric: "b", labels: ["c"] }, { metric: "e", labels: [] }],
    groupings: ["a"]
  })
})
