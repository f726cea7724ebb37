/** `npm run bench:growth`: evsrc on logs of different sizes, on one PostgreSQL. bench/README.md says what it shows. */
import { execFile, execFileSync, spawn } from "node:child_process"
import { existsSync, writeFileSync } from "node:fs"
import { cpus, loadavg, totalmem } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { promisify } from "node:util"
import { cells } from "../cells.ts"
import { type Child, start as startChild } from "../child.ts"
import { peer } from "../contestant.ts"
import type { Pg, Queries } from "../pg.ts"
import { start as startServer } from "../server.ts"
import { fill, leaveGaps, longEvents, longStreams, unit } from "./fill.ts"
import { conditionFunction, type Probe, probes } from "./probes.ts"
import { type Figure, type Grown, median, type Results, type Sample, tables } from "./report.ts"

const here = import.meta.dirname
const bench = join(here, "..")
const say = (text: string) => process.stderr.write(`${text}\n`)
const number = (name: string, otherwise: number) => Number(process.env[name] ?? otherwise)

const sizes = (process.env["BENCH_GROWTH_EVENTS"] ?? "0,1000000,10000000").split(",").map(Number)
if (sizes.some((size) => !(size >= 0 && size % unit === 0))) {
  throw new Error(`BENCH_GROWTH_EVENTS are multiples of ${unit}`)
}
const rounds = number("BENCH_ROUNDS", 9)
const seconds = number("BENCH_SECONDS", 0.4)
const rowEvents = number("BENCH_GROWTH_ROWS", 50_000)
const rowSeconds = 8
/** Events that the subscriber reads at most. */
const followed = number("BENCH_GROWTH_FOLLOWED", 1_000_000)
/** Of a probe in one round. */
const probeMillis = 150
const loaders = 3
const connections = 32

if (!existsSync(join(bench, "node_modules"))) {
  say("Installing the peers into bench/node_modules: npm ci --prefix bench")
  execFileSync("npm", ["ci", "--ignore-scripts", "--prefix", bench], { stdio: ["ignore", 2, 2] })
}
const { Client, Pool } = await peer<Pg>("pg")

const began = performance.now()
const elapsed = () => Math.round((performance.now() - began) / 1000)
const failures: Array<string> = []
const fail = (text: string) => {
  failures.push(text)
  say(text)
}

const measured = ["append1@1", "append1@8", "append1@32", "decision@1", "decision@8", "read100@8"]
const ownCells = cells.filter(({ id }) => measured.includes(id))

const server = await startServer(undefined)
const children: Array<Child> = []
const clients: Array<Queries> = []
const fillSeconds: Array<number> = []
const databaseBytes: Array<number> = []
const cellFigures = ownCells.map((cell) => ({ cell, rounds: sizes.map((): Array<number> => []) }))
const probeFigures = probes.map((probe) => ({ probe, rounds: sizes.map((): Array<number> => []) }))
const walBytes = sizes.map((): Array<number> => [])
const subscriber: Array<Sample> = []
const grown: Array<Grown> = []

/** The median milliseconds of a statement on a connection that has prepared it. */
const time = async (client: Queries, { rows, slow, text, title, values }: Probe, head: bigint, warm: boolean) => {
  const run = async () => {
    const start = performance.now()
    const answer = await client.query({ name: title, text, values: values(head) })
    const took = performance.now() - start
    if (rows !== undefined && answer.rows.length !== rows) throw new Error(`${answer.rows.length} rows, not ${rows}`)
    return took
  }
  // A function's statements may get a plan of their own up to the sixth time, and another one then.
  if (!warm && slow === undefined) { for (let i = 0; i < 8; i++) await run() }
  const times: Array<number> = []
  const start = performance.now()
  while (times.length < (slow === undefined ? 5 : 1) || performance.now() - start < probeMillis) times.push(await run())
  return median(times)
}

try {
  const urls: Array<string> = []
  for (const size of sizes) {
    const start = performance.now()
    const url = await server.database(`growth_${size}`)
    urls.push(url)
    // Makes the tables, and a little to read.
    const child = await startChild("evsrc", "evsrc", { url, pool: connections, server: undefined })
    if (size > 0) {
      await child.stop()
      const admin = new Client({ connectionString: url })
      await admin.connect()
      // Or else the checkpoints of a bulk load take most of its time.
      const set = async (...settings: ReadonlyArray<string>) => {
        for (const setting of settings) await admin.query(`alter system ${setting}`)
        await admin.query("select pg_reload_conf()")
      }
      await set("set max_wal_size = '32GB'", "set checkpoint_timeout = '1h'", "set maintenance_work_mem = '1GB'")
      await set("set synchronous_commit = off")
      await emptied(admin)
      const pool = new Pool({ connectionString: url, max: loaders })
      await fill(pool, loaders, size)
      await pool.end()
      await set("reset all")
      await admin.query("checkpoint")
      await admin.end()
      children.push(await startChild("evsrc", "evsrc", { url, pool: connections, server: undefined }))
    } else children.push(child)
    const client = new Client({ connectionString: url })
    await client.connect()
    await client.query(conditionFunction)
    await client.query(leaveGaps)
    clients.push(client)
    const { rows } = await client.query("select pg_database_size(current_database())::float8 as bytes")
    databaseBytes.push(Number(rows[0]?.["bytes"]))
    fillSeconds.push((performance.now() - start) / 1000)
    say(`${size} events after ${elapsed()} s`)
  }

  for (let round = 0; round <= rounds; round++) {
    say(round === 0 ? "Warming up" : `Round ${round} of ${rounds}, after ${elapsed()} s`)
    for (const { cell, rounds } of cellFigures) {
      // Each round another one begins.
      for (const index of turns(round)) {
        const before = await written(clients[index]!)
        const answer = await children[index]!.measure(cell, seconds)
        if (round === 0 || answer?.rate === undefined) continue
        rounds[index]!.push(answer.rate)
        if (cell.id === "append1@1") {
          walBytes[index]!.push((await written(clients[index]!) - before) / (answer.rate * seconds))
        }
      }
    }
    for (const { probe, rounds } of probeFigures) {
      // One round is enough to see that it goes through everything.
      if (probe.slow !== undefined && round !== 1) continue
      for (const index of turns(round)) {
        if (probe.rows !== undefined && sizes[index] === 0) continue
        const client = clients[index]!
        const { rows } = await client.query("select max(position)::text as head from evsrc.events")
        const millis = await time(client, probe, BigInt(String(rows[0]?.["head"])), round > 0)
        if (round > 0) rounds[index]!.push(millis)
      }
    }
  }
  await Promise.all(children.map((child) => child.stop()))
  report()

  const largest = sizes.indexOf(Math.max(...sizes))
  if (sizes[largest]! > 0) {
    const events = Math.min(sizes[largest]! + longStreams * longEvents, followed)
    say(`Following ${events} events, after ${elapsed()} s`)
    await follow(urls[largest]!, events)
    report()
  }

  for (
    const contestant of [
      "floor",
      "evsrc",
      "evsrc, 2 tags",
      "evsrc, 2 tags, a command id",
      "emmett",
      "castore",
      "dcb-es"
    ]
  ) {
    say(`Rows of ${contestant}, after ${elapsed()} s`)
    const url = await server.database(`rows_${grown.length}_${failures.length}`)
    const args = [
      "--conditions=@evsrc/source",
      join(here, "rows.ts"),
      contestant,
      url,
      String(rowEvents),
      String(rowSeconds)
    ]
    try {
      const { stdout } = await promisify(execFile)(process.execPath, args)
      const one: Grown = JSON.parse(stdout)
      grown.push(one)
    } catch (cause) {
      fail(`Rows of ${contestant}: ${String(cause)}`)
    }
  }
} catch (cause) {
  fail(cause instanceof Error ? cause.stack ?? cause.message : String(cause))
} finally {
  for (const client of clients) await client.end()
  await server.stop()
}

function results(): Results {
  const figures: ReadonlyArray<Figure> = [
    ...cellFigures.map(({ cell, rounds }): Figure => ({ title: cell.title, unit: "ops/s", rounds })),
    { title: "write-ahead log an append, c=1", unit: "bytes", rounds: walBytes },
    ...probeFigures.map(({ probe, rounds }): Figure => ({ title: probe.title, unit: "ms", rounds }))
  ]
  return {
    date: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model ?? "unknown",
      cores: cpus().length,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      node: process.versions.node,
      postgresql: server.version
    },
    server: server.settings,
    seconds: elapsed(),
    loadAverage: loadavg(),
    sizes,
    fillSeconds,
    databaseBytes,
    figures: figures.map((figure) => ({
      ...figure,
      rounds: figure.rounds.map((all) => all.map((n) => Number(n.toPrecision(4))))
    })),
    subscriber,
    rows: grown,
    failures
  }
}

/** What there is so far. */
function report(): void {
  writeFileSync(join(bench, "growth-results.json"), `${JSON.stringify(results(), undefined, 2)}\n`)
}

/** A log as new: what a contestant wrote to be read is not in the way of what is filled in. */
async function emptied(client: Queries): Promise<void> {
  await client.query("alter table evsrc.events disable trigger user")
  await client.query("alter table evsrc.event_tags disable trigger user")
  await client.query("truncate evsrc.events, evsrc.event_tags")
  await client.query("alter table evsrc.events enable trigger user")
  await client.query("alter table evsrc.event_tags enable trigger user")
}

/** Bytes of the write-ahead log. */
async function written(client: Queries): Promise<number> {
  const { rows } = await client.query("select (pg_current_wal_insert_lsn() - '0/0')::float8 as bytes")
  return Number(rows[0]?.["bytes"])
}

function turns(round: number): ReadonlyArray<number> {
  return sizes.map((_, index) => (index + round) % sizes.length)
}

async function follow(url: string, events: number): Promise<void> {
  const args = ["--expose-gc", "--conditions=@evsrc/source", join(here, "subscriber.ts"), url, String(events), "10"]
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] })
  for await (const line of createInterface({ input: child.stdout })) {
    const sample: Sample = JSON.parse(line)
    subscriber.push(sample)
  }
}

report()
process.stdout.write(`${tables(results())}\n\n`)
say(`${elapsed()} s; bench/growth-results.json is written`)
if (failures.length > 0) process.exitCode = 1
