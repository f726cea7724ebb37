/** `npm run bench`: evsrc beside its peers and a floor, on one PostgreSQL. bench/README.md says what it shows. */
import { readFileSync, writeFileSync } from "node:fs"
import { cpus, totalmem } from "node:os"
import { join } from "node:path"
import { cells } from "./cells.ts"
import { type Child, pgbench, start as startChild } from "./child.ts"
import { type HttpProgram, start as startHttp } from "./http/measure.ts"
import { install } from "./install.ts"
import type { Measured } from "./measure.ts"
import { picture } from "./picture.ts"
import { details, type Results, table, text } from "./report.ts"
import { lines, measure as measureRoundTrips, type Table } from "./roundTrips/table.ts"
import { start as startServer } from "./server.ts"
import { settings } from "./settings.ts"
import type { Name } from "./worker.ts"

const here = import.meta.dirname
const say = (text: string) => process.stderr.write(`${text}\n`)

install()

const names = ["floor", "evsrc", "evsrc again", "emmett", "castore", "dcb-es"]
  .filter((name) => name === "floor" || (settings.only?.includes(name) ?? true))
const ownCells = cells.filter(({ id, kind }) =>
  settings.cells?.some((one) => one === id || one === kind || one === id.split("@")[0]) ?? true
)

const versionOf = (folder: string, name: string): readonly [string, string] => {
  const { version }: { readonly version: string } = JSON.parse(
    readFileSync(join(here, folder, "node_modules", name, "package.json"), "utf8")
  )
  return [name, version]
}

const contestantOf = (name: string): Name => (name === "evsrc again" ? "evsrc" : name) as Name

const server = await startServer(process.env["BENCH_DATABASE_URL"])
const children: Array<Child> = []
const programs = new Map<string, HttpProgram>()
let roundTrips: Table = {}
const rounds = new Map<string, Array<Measured>>()
const failures: Array<string> = []
const began = performance.now()

try {
  for (const name of names) {
    const url = await server.database(name)
    try {
      children.push(await startChild(name, contestantOf(name), { url, pool: settings.pool, server: server.pid }))
    } catch (cause) {
      failures.push(`${name} did not start: ${String(cause)}`)
      say(failures.at(-1)!)
    }
    const alone = name === "floor" && settings.only === undefined ? pgbench(url, settings.pool) : undefined
    if (alone !== undefined) children.push(alone)
    if (!ownCells.some(({ kind }) => kind === "http")) continue
    try {
      const program = await startHttp(name, await server.database(`${name} http`), server.pid)
      if (program !== undefined) programs.set(name, program)
    } catch (cause) {
      failures.push(`the HTTP program of ${name} did not start: ${String(cause)}`)
      say(failures.at(-1)!)
    }
  }
  for (let round = 0; round <= settings.rounds; round++) {
    say(round === 0 ? "Warming up" : `Round ${round} of ${settings.rounds}, after ${elapsed()} s`)
    for (const cell of ownCells) {
      const http = cell.kind === "http"
      const latency = cell.kind === "latency"
      if (latency && round === 0) continue
      for (const child of round % 2 === 0 ? children : children.toReversed()) {
        const { name } = child
        const measure = http ? programs.get(name)?.measure : child.measure
        if (measure === undefined || (name === "pgbench" && round === 0)) continue
        const seconds = http
          ? settings.httpSeconds
          : latency
          ? settings.latencySeconds
          : round === 0
          ? settings.warmUpSeconds
          : settings.seconds
        try {
          const measured = await measure(cell, seconds)
          if (measured === undefined || round === 0) continue
          const key = `${cell.id} ${name}`
          rounds.set(key, [...rounds.get(key) ?? [], measured])
        } catch (cause) {
          failures.push(`${name}, ${cell.title}, round ${round}: ${String(cause)}`)
          say(failures.at(-1)!)
        }
      }
    }
  }
  await Promise.all([...programs.values()].map((program) => program.stop()))
  programs.clear()
  await Promise.all(children.map((child) => child.stop()))
  if (settings.cells === undefined || settings.cells.includes("roundTrips")) {
    say(`Round trips, after ${elapsed()} s`)
    roundTrips = await measureRoundTrips(names, server.database, (failure) => {
      failures.push(failure)
      say(failure)
    })
  }
} finally {
  await Promise.all([...programs.values()].map((program) => program.stop()))
  await Promise.all(children.map((child) => child.stop()))
  await server.stop()
}

function elapsed(): number {
  return Math.round((performance.now() - began) / 1000)
}

const results: Results = {
  date: new Date().toISOString(),
  machine: {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`
  },
  versions: Object.fromEntries([
    ["node", process.versions.node],
    ["postgresql", server.version],
    ...["effect", "@effect/sql-pg"].map((name) => versionOf("..", name)),
    ...[
      "pg",
      "@event-driven-io/emmett-postgresql",
      "@castore/event-storage-adapter-postgres",
      "express",
      "autocannon",
      "@dcb-es/event-store-postgres"
    ].map((name) => versionOf(".", name))
  ]),
  server: server.settings,
  settings,
  contestants: children.map(({ name }) => name),
  failures,
  entries: cells.flatMap((cell) =>
    children.flatMap(({ name }) => {
      const found = rounds.get(`${cell.id} ${name}`)
      return found === undefined ? [] : [{ cell: cell.id, contestant: name, rounds: found }]
    })
  ),
  roundTrips
}

const isWhole = !settings.quick && settings.only === undefined && settings.cells === undefined
if (isWhole) {
  writeFileSync(join(here, "results.json"), `${JSON.stringify(results, undefined, 2)}\n`)
  writeFileSync(join(here, "results.svg"), picture(results))
}
const trips = text(lines(roundTrips, names.filter((name) => name !== "evsrc again")))
process.stdout.write(`${table(results)}\n\n${details(results)}\n\n${trips}\n\n`)
say(`${elapsed()} s${isWhole ? "; bench/results.json and bench/results.svg are written" : ""}`)
if (failures.length > 0) {
  say(`${failures.length} failures:\n${failures.join("\n")}`)
  process.exitCode = 1
}
// A child that does not end keeps this process alive.
process.exit()
