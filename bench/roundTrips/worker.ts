/** The process of one contestant behind a proxy: sends the round trips of each of its operations. */
import { open } from "../../test/support/RoundTrips.ts"
import type { Contestant, Make } from "../contestant.ts"
import { delay, type Operation, type Operations, type Row, type Subject, type Trips, tripsOf } from "./measure.ts"

/** What a contestant sends for each operation. */
export type Reply = { readonly row: Row; readonly trips: Trips } | {
  readonly row: Row | undefined
  readonly failed: string
}

/** Runs one operation of a contestant, whatever it is. */
const once = <Run>({ loop }: Contestant<Run>, run: Run): Promise<void> => {
  let isDone = false
  return loop({
    next: () => {
      if (isDone) return undefined
      isDone = true
      return run
    }
  }, { open: () => true, took: () => {}, failed: () => {} })
}

const commandsOf = async <Run>(url: string, make: Make<Run>): Promise<Subject> => {
  const contestant = await make(url, 8)
  const { commands, decisions } = contestant.actions
  // An instance that was not used yet, one a run.
  const waiting: Record<"unknown" | "decision", Array<string>> = { unknown: [], decision: [] }
  const count = 12
  for (let n = 0; n < count; n++) {
    await commands?.create(waiting.unknown[n] = `unknown-${n}`)
    await decisions?.create(waiting.decision[n] = `unknown-course-${n}`)
  }
  await commands?.create("known")
  await decisions?.create("known-course")
  const operations: Operations = {
    ...commands && {
      known: () => once(contestant, commands.run("known")),
      unknown: () => once(contestant, commands.run(waiting.unknown.pop()!))
    },
    ...decisions && {
      decision: () => once(contestant, decisions.run(waiting.decision.pop()!)),
      decided: () => once(contestant, decisions.run("known-course"))
    }
  }
  return { operations }
}

type Makers = Readonly<Record<string, ReadonlyArray<(url: string) => Promise<Subject>>>>

const makers: Makers = {
  floor: [async (url) => commandsOf(url, (await import("../contestants/floor.ts")).make)],
  evsrc: [
    async (url) => commandsOf(url, (await import("../contestants/evsrc.ts")).make),
    async (url) => (await import("./evsrc.ts")).make(url)
  ],
  emmett: [
    async (url) => commandsOf(url, (await import("../contestants/emmett.ts")).make),
    async (url) => (await import("./emmett.ts")).make(url)
  ],
  castore: [async (url) => commandsOf(url, (await import("../contestants/castore.ts")).make)],
  "dcb-es": [async (url) => commandsOf(url, (await import("../contestants/dcb-es.ts")).make)]
}

const [name = "", ...urls] = process.argv.slice(2)

const send = (reply: Reply) => new Promise<void>((resolve) => process.send!(reply, () => resolve()))

let row: Row | undefined
try {
  for (const [index, make] of makers[name]!.entries()) {
    const proxy = await open(urls[index]!, delay)
    const { operations } = await make(proxy.url)
    for (const [next, operation] of Object.entries(operations) as ReadonlyArray<[Row, Operation]>) {
      row = next
      await send({ row, trips: await tripsOf(proxy, operation) })
    }
    row = undefined
  }
} catch (cause) {
  await send({ row, failed: cause instanceof Error ? cause.stack ?? cause.message : String(cause) })
}
// Not every pool can be closed.
process.exit()
