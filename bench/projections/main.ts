/** `npm run bench:projections`: projections of evsrc beside those of emmett, on one PostgreSQL. bench/README.md says what it shows. */
import { execFileSync, fork } from "node:child_process"
import { existsSync, writeFileSync } from "node:fs"
import { cpus, loadavg } from "node:os"
import { join } from "node:path"
import { start as startServer } from "../server.ts"
import type { Latency, Reply, Sample, Subject, Task, Took, Way } from "./task.ts"

const here = import.meta.dirname
const say = (text: string) => process.stderr.write(`${text}\n`)

const number = (name: string, otherwise: number): number => {
  const value = Number(process.env[name] ?? otherwise)
  if (!(value >= 0)) throw new Error(`${name} must be a number`)
  return value
}

const settings = {
  rounds: number("BENCH_ROUNDS", 3),
  /** Of evsrc's log for the comparison, and of emmett's. */
  events: number("BENCH_EVENTS", 200_000),
  emmettEvents: number("BENCH_EMMETT_EVENTS", 5_000),
  /** Of the log for the rebuild and for memory; none with 0. */
  rebuildEvents: number("BENCH_REBUILD_EVENTS", 1_000_000),
  latencySeconds: number("BENCH_LATENCY_SECONDS", 6),
  batchSizes: (process.env["BENCH_BATCH_SIZES"] ?? "default,2000,5000").split(","),
  partitions: (process.env["BENCH_PARTITIONS"] ?? "1,4").split(",").map(Number)
}

if (!existsSync(join(here, "../node_modules"))) {
  say("Installing the peers into bench/node_modules: npm ci --prefix bench")
  execFileSync("npm", ["ci", "--ignore-scripts", "--prefix", join(here, "..")], { stdio: ["ignore", 2, 2] })
}

interface Process {
  readonly ask: <K extends Task["task"]>(
    task: K,
    ...args: Parameters<NonNullable<Subject[K]>>
  ) => Promise<Awaited<ReturnType<NonNullable<Subject[K]>>>>
  readonly stop: () => Promise<void>
}

const open = new Set<Process>()

const startProcess = async (name: "evsrc" | "emmett", url: string): Promise<Process> => {
  const child = fork(join(here, "worker.ts"), [name, url], {
    execArgv: ["--conditions=@evsrc/source", "--expose-gc", ...process.env["BENCH_NODE_OPTIONS"]?.split(" ") ?? []]
  })
  const reply = () =>
    new Promise<unknown>((resolve, reject) => {
      const ended = (code: number | null) => reject(new Error(`${name} ended with ${code}`))
      child.once("exit", ended).once("message", (message: Reply) => {
        child.off("exit", ended)
        if ("failed" in message) reject(new Error(message.failed))
        else resolve(message.answer)
      })
    })
  await reply()
  const one: Process = {
    ask: async (task, ...args) => {
      child.send({ task, args })
      // The worker answers what the task of that name does.
      return await reply() as never
    },
    stop: () =>
      new Promise((resolve) => {
        open.delete(one)
        if (child.exitCode !== null) return resolve()
        child.once("exit", () => resolve())
        child.disconnect()
      })
  }
  open.add(one)
  return one
}

const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
const rate = ({ events, seconds }: Took) => events / seconds
const round = (value: number, digits = 0) =>
  value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits })
const load = () => loadavg()[0]!.toFixed(1)

const began = performance.now()
const elapsed = () => Math.round((performance.now() - began) / 1000)
const server = await startServer(process.env["BENCH_DATABASE_URL"])
const failures: Array<string> = []
const loads = [load()]
const catchUps: Array<{ readonly name: string; readonly way: Way; readonly rounds: Array<Took> }> = []
const latencies: Array<{ readonly name: string; readonly latency: Latency }> = []
let long: Took | undefined
let rebuilt: Took | undefined

const attempt = async (what: string, run: () => Promise<void>) => {
  try {
    await run()
  } catch (cause) {
    failures.push(`${what}: ${String(cause)}`)
    say(failures.at(-1)!)
  }
}

try {
  const urls = { evsrc: await server.database("projections"), emmett: await server.database("projections-emmett") }
  const evsrc = await startProcess("evsrc", urls.evsrc)
  await evsrc.ask("fill", settings.events)
  const emmett = settings.emmettEvents > 0 ? await startProcess("emmett", urls.emmett) : undefined
  await emmett?.ask("fill", settings.emmettEvents)
  const cases = [
    ...settings.partitions.flatMap((partitions) =>
      settings.batchSizes.map((size) => ({
        name: `evsrc, pages of ${size}, ${partitions} partition${partitions === 1 ? "" : "s"}`,
        process: evsrc,
        way: size === "default" ? { partitions } : { batchSize: Number(size), partitions }
      }))
    ),
    ...emmett === undefined ? [] : [
      { name: "emmett, pages of 100 (default)", process: emmett, way: { partitions: 1 } },
      { name: "emmett, pages of 1000", process: emmett, way: { batchSize: 1000, partitions: 1 } }
    ]
  ]
  for (let number = 0; number <= settings.rounds; number++) {
    say(
      `${
        number === 0 ? "Warming up" : `Catch-up ${number} of ${settings.rounds}`
      }, after ${elapsed()} s, load ${load()}`
    )
    for (const { name, process, way } of number === 0 ? cases.slice(0, 1) : cases) {
      await attempt(name, async () => {
        const took = await process.ask("catchUp", way, 0)
        if (number === 0) return
        const found = catchUps.find((one) => one.name === name)
        if (found === undefined) catchUps.push({ name, way, rounds: [took] })
        else found.rounds.push(took)
        say(`  ${name}: ${round(rate(took))} events/s`)
      })
    }
  }
  loads.push(load())

  const measure = (
    name: string,
    subject: "evsrc" | "emmett",
    consumer: Process,
    projection: string,
    readers: ReadonlyArray<readonly [title: string, reader: Process, how: "poll" | "await"]>
  ) =>
    attempt(`latency of ${name}`, async () => {
      say(`Latency of ${name}, after ${elapsed()} s, load ${load()}`)
      await consumer.ask("follow", projection)
      for (const [title, reader, how] of readers) {
        const latency = await reader.ask("latency", projection, settings.latencySeconds, how)
        latencies.push({ name: `${subject}, ${title}`, latency })
        if (latency.seen < latency.sent) {
          failures.push(`${subject}, ${title}: ${latency.seen} of ${latency.sent} appends shown within 10 s`)
        }
      }
    })
  if (settings.latencySeconds > 0) {
    const consumer = await startProcess("evsrc", urls.evsrc)
    await measure("evsrc", "evsrc", consumer, "latency", [
      ["polled every 3 ms", evsrc, "poll"],
      ["awaitPosition in another process", evsrc, "await"]
    ])
    await consumer.stop()
    await measure("evsrc, one process", "evsrc", evsrc, "latency-of-one-process", [
      ["awaitPosition in the projector's process", evsrc, "await"]
    ])
    if (emmett !== undefined) {
      const other = await startProcess("emmett", urls.emmett)
      await measure("emmett", "emmett", other, "latency", [["polled every 3 ms", emmett, "poll"]])
      await other.stop()
    }
  }
  await evsrc.stop()
  await emmett?.stop()
  loads.push(load())

  if (settings.rebuildEvents > 0) {
    await attempt("rebuild", async () => {
      const database = await server.database("projections-rebuild")
      const filler = await startProcess("evsrc", database)
      await filler.ask("fill", settings.rebuildEvents)
      await filler.stop()
      // New, so that its memory is that of the projector alone.
      const projector = await startProcess("evsrc", database)
      say(`Catch-up of ${round(settings.rebuildEvents)} events, after ${elapsed()} s, load ${load()}`)
      long = await projector.ask("catchUp", { partitions: 1 }, 10)
      say(`Rebuild, after ${elapsed()} s, load ${load()}`)
      rebuilt = await projector.ask("rebuild")
      await projector.stop()
    })
    loads.push(load())
  }
} finally {
  await Promise.all(Array.from(open, (one) => one.stop()))
  await server.stop()
}

const line = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`
const base = catchUps.find(({ name }) => name.startsWith("emmett"))
const baseRate = base === undefined ? undefined : median(base.rounds.map(rate))
const out = [
  line(["catch-up", "events/s", "spread", "× emmett", "processor of Node"]),
  line(["---", "---:", "---:", "---:", "---:"]),
  ...catchUps.map(({ name, rounds }) => {
    const rates = rounds.map(rate)
    const middle = median(rates)
    const [least, most] = [Math.min(...rates), Math.max(...rates)].map((one) => Math.round((one / middle - 1) * 100))
    const busy = median(rounds.map(({ processor, seconds }) => processor / seconds))
    const ratio = baseRate === undefined ? "–" : round(middle / baseRate, 1)
    return line([name, round(middle), `${least}/+${most} %`, ratio, `${round(busy * 100)} %`])
  }),
  "",
  line(["append to visible", "p50", "p99", "max", "p50 from the call", "seen"]),
  line(["---", "---:", "---:", "---:", "---:", "---:"]),
  ...latencies.map(({ latency: { fromCall, most, p50, p99, seen, sent }, name }) =>
    line([name, ...[p50, p99, most, fromCall].map((one) => `${round(one, 1)} ms`), `${seen} of ${sent}`])
  ),
  ""
]
const took = (what: string, one: Took | undefined) =>
  one === undefined ? [] : [
    `${what} of ${round(one.events)} events: ${round(one.seconds, 1)} s, ${round(rate(one))} events/s, `
    + `Node busy ${round(one.processor / one.seconds * 100)} %`
  ]
const points: ReadonlyArray<Sample> = long?.samples ?? []
if (points.length > 0) {
  out.push(
    line(["memory after events", ...points.map(({ events }) => round(events))]),
    line(["---", ...points.map(() => "---:")]),
    line(["heap, MiB", ...points.map(({ heapMiB }) => round(heapMiB, 1))]),
    line(["resident, MiB", ...points.map(({ rssMiB }) => round(rssMiB))]),
    ""
  )
}
out.push(...took("Catch-up", long), ...took("Rebuild", rebuilt), `Load average: ${loads.join(", ")}`)
process.stdout.write(`${out.join("\n")}\n`)

const results = {
  date: new Date().toISOString(),
  machine: { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, loads },
  node: process.versions.node,
  postgresql: server.version,
  server: server.settings,
  settings,
  failures,
  catchUps,
  latencies,
  long,
  rebuilt
}
writeFileSync(join(here, "../projections-results.json"), `${JSON.stringify(results, undefined, 2)}\n`)
say(`${elapsed()} s; bench/projections-results.json is written`)
if (failures.length > 0) {
  say(`${failures.length} failures:\n${failures.join("\n")}`)
  process.exitCode = 1
}
