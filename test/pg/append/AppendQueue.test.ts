/** The queue of group commit: what goes together, what waits, and the properties of every batch. */
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as AppendQueue from "../../../src/pg/append/AppendQueue.ts"

interface Append extends AppendQueue.Entry {
  readonly name: string
}

let count = 0
const append = (stream: string, command?: string, bytes = 1, since = 0): Append => ({
  name: `${stream}${count}`,
  stream,
  commandId: command,
  eventId: `event ${count++}`,
  lastEventId: undefined,
  bytes,
  documents: 0,
  since,
  conditionNames: [],
  names: [],
  restsOnOthers: false
})

const behind = (stream: string, { eventId }: Append): Append => ({ ...append(stream), lastEventId: eventId })

const namesOf = (batch: ReadonlyArray<Append>) => batch.map(({ name }) => name)

const queueOf = (options: AppendQueue.AppendQueueOptions, ...appends: ReadonlyArray<Append>) => {
  const queue = AppendQueue.make<Append>(options)
  for (const entry of appends) queue.add(entry)
  return queue
}

describe("AppendQueue", () => {
  it("takes the waiting appends in the order of their arrival", () => {
    const [a, b, c] = [append("a"), append("b"), append("c")]
    const queue = queueOf({}, a, b, c)
    assert.deepStrictEqual(queue.nextBatch(), [a, b, c])
    assert.deepStrictEqual(queue.nextBatch(), [])
  })

  it("takes appends on conditions with a name in common together, or after each other", () => {
    const on = (conditionNames: ReadonlyArray<string>, names = conditionNames) => ({
      ...append("s", undefined),
      stream: `s${count}`,
      conditionNames,
      names
    })
    const [first, second, other, tagged, plain] = [on(["x"]), on(["x", "y"]), on(["z"]), on([], ["y"]), on([])]
    const queue = queueOf({ inFlight: 3, statementAppends: 1, batchAppends: 1 }, first)
    const batch = queue.nextBatch()
    for (const entry of [second, other, tagged, plain]) queue.add(entry)
    assert.deepStrictEqual([queue.nextBatch(), queue.nextBatch()], [[other], [plain]])
    queue.statementEnded(batch)
    assert.deepStrictEqual(queue.nextBatch(), [])
    queue.end(first)
    assert.deepStrictEqual(queue.nextBatch(), [second])
    assert.deepStrictEqual(queueOf({}, first, tagged, second, plain).nextBatch(), [first, tagged, second, plain])
  })

  it("lets appends on conditions pass those that wait for their stream, unless they rest on others", () => {
    const on = (stream: string, restsOnOthers = false) => ({
      ...append(stream),
      conditionNames: ["x"],
      names: ["x"],
      restsOnOthers
    })
    const [first, behindIt, other, resting] = [on("held"), on("held"), on("a"), on("b", true)]
    const queue = queueOf({ inFlight: 3, statementAppends: 1, batchAppends: 1 }, first)
    queue.statementEnded(queue.nextBatch())
    for (const entry of [behindIt, resting, other]) queue.add(entry)
    assert.deepStrictEqual(queue.nextBatch(), [])
    queue.freeNames(first)
    queue.statementEnded(queue.nextBatch())
    assert.isFalse(queue.remove(other))
    queue.end(other)
    assert.deepStrictEqual(queue.nextBatch(), [])
    queue.end(first)
    queue.statementEnded(queue.nextBatch())
    queue.end(behindIt)
    assert.deepStrictEqual(queue.nextBatch(), [resting])
  })

  it("allows no second statement until the first has ended", () => {
    const [a, b] = [append("a"), append("b")]
    const queue = queueOf({}, a)
    const first = queue.nextBatch()
    queue.add(b)
    assert.deepStrictEqual(queue.nextBatch(), [])
    queue.statementEnded(first)
    assert.deepStrictEqual(queue.nextBatch(), [b])
  })

  it("sends another statement in place of stalled ones, up to their maximum", () => {
    const appends = Array.from({ length: 4 }, (_, i) => append(`s${i}`))
    const queue = queueOf({ batchAppends: 1, maxStalled: 2 }, ...appends)
    const batches = [queue.nextBatch()]
    for (let i = 1; i < 3; i++) {
      assert.deepStrictEqual(queue.nextBatch(), [])
      queue.statementStalled(batches[i - 1]!)
      batches.push(queue.nextBatch())
      assert.deepStrictEqual(batches[i], appends.slice(i, i + 1))
    }
    queue.statementStalled(batches[2]!)
    assert.deepStrictEqual(queue.nextBatch(), [])
    queue.statementEnded(batches[0]!)
    assert.deepStrictEqual(queue.nextBatch(), appends.slice(3))
  })

  it("removes the appends that a function selects, and lets those behind them go", () => {
    const at = (stream: string, since: number) => append(stream, undefined, 1, since)
    const [first, early, late] = [at("a", 0), at("b", 10), at("b", 20)]
    const queue = queueOf({ batchAppends: 1 }, first)
    const batch = queue.nextBatch()
    for (const entry of [early, late]) queue.add(entry)
    assert.deepStrictEqual(queue.removeIf(({ since }) => since <= 10), [early])
    queue.statementEnded(batch)
    assert.deepStrictEqual(queue.nextBatch(), [late])
    assert.isTrue(queue.isEmpty())
  })

  it("passes over an append whose stream is in flight, and those behind it", () => {
    const [a, again, sameCommand, other] = [append("a"), append("a", "1"), append("b", "1"), append("c")]
    const queue = queueOf({ inFlight: 2, statementAppends: 1, batchAppends: 1 }, a)
    const first = queue.nextBatch()
    for (const entry of [again, sameCommand, other]) queue.add(entry)
    assert.deepStrictEqual(queue.nextBatch(), [other])
    queue.statementEnded(first)
    queue.end(a)
    assert.deepStrictEqual(queue.nextBatch(), [again])
  })

  it("keeps the stream of an append whose statement has ended until the append ends", () => {
    const [a, again, other] = [append("a"), append("a"), append("b")]
    const queue = queueOf({}, a)
    queue.statementEnded(queue.nextBatch())
    queue.add(again)
    queue.add(other)
    const second = queue.nextBatch()
    assert.deepStrictEqual(second, [other])
    queue.statementEnded(second)
    assert.deepStrictEqual(queue.nextBatch(), [])
    queue.end(a)
    assert.deepStrictEqual(queue.nextBatch(), [again])
  })

  it("divides the appends equally between the statements that it allows", () => {
    const appends = ["a", "b", "c", "d"].map((stream) => append(stream))
    const queue = queueOf({ inFlight: 2, statementAppends: 2 }, ...appends)
    assert.deepStrictEqual(queue.nextBatch(), appends.slice(0, 2))
    assert.deepStrictEqual(queue.nextBatch(), appends.slice(2))
    assert.deepStrictEqual(queue.nextBatch(), [])
  })

  it("ends a batch at its maximum of appends or bytes, but takes at least one", () => {
    const [a, b, large, c, d] = [append("a"), append("b"), append("l", undefined, 100), append("c"), append("d")]
    const queue = queueOf({ batchAppends: 3, batchBytes: 10 }, a, b, large, c, d)
    for (const expected of [[a, b], [large], [c, d]]) {
      const batch = queue.nextBatch()
      assert.deepStrictEqual(batch, expected)
      queue.statementEnded(batch)
      for (const entry of batch) queue.end(entry)
    }
  })

  it("ends a batch at its maximum of documents, but takes at least one append", () => {
    const all = [2, 2, 2, 9, 1].map((documents, n) => ({ ...append(`s${n}`), documents }))
    const [a, b, c, many, d] = all
    const queue = queueOf({ batchDocuments: 5 }, ...all)
    for (const expected of [[a, b], [c], [many], [d]]) {
      const batch: ReadonlyArray<Append> = queue.nextBatch()
      assert.deepStrictEqual<unknown>(batch, expected)
      queue.statementEnded(batch)
      for (const entry of batch) queue.end(entry)
    }
  })

  it("takes the appends to one stream together, one after the other", () => {
    const [a, b, again, sameCommand] = [append("a"), append("b", "1"), append("a"), append("a", "1")]
    const queue = queueOf({}, a, b, again, sameCommand)
    const batch = queue.nextBatch()
    assert.deepStrictEqual(batch, [a, again, b])
    queue.statementEnded(batch)
    queue.end(b)
    queue.end(a)
    assert.deepStrictEqual(queue.nextBatch(), [])
    queue.end(again)
    assert.deepStrictEqual(queue.nextBatch(), [sameCommand])
  })

  it("puts appends back before all others, and lets them go when the stream is free", () => {
    const [first, second, third, other] = [append("a"), append("a"), append("a"), append("b")]
    const queue = queueOf({}, first, second, third)
    queue.statementEnded(queue.nextBatch())
    queue.add(other)
    queue.putBack([second, third])
    const next = queue.nextBatch()
    assert.deepStrictEqual(next, [other])
    queue.statementEnded(next)
    queue.end(first)
    assert.deepStrictEqual(queue.nextBatch(), [second, third])
  })

  it("removes the appends that rest on one that was not written, and no others", () => {
    const first = append("a")
    const second = behind("a", first)
    const third = behind("a", second)
    const [other, otherStream] = [append("a"), behind("b", first)]
    const queue = queueOf({}, second, other, otherStream, third)
    assert.deepStrictEqual(queue.removeFollowers(first), [second, third])
    assert.deepStrictEqual(queue.removeFollowers(other), [])
    assert.deepStrictEqual(queue.nextBatch(), [other, otherStream])
  })

  it("holds up the appends that wait for a lock, and those behind them, until it is free", () => {
    const [first, second, third, other] = [append("a"), append("b"), append("a"), append("c")]
    const queue = queueOf({}, first, second)
    queue.statementEnded(queue.nextBatch())
    for (const entry of [first, second]) queue.await(entry, "x")
    for (const entry of [third, other]) queue.add(entry)
    const next = queue.nextBatch()
    assert.deepStrictEqual(next, [other])
    queue.statementEnded(next)
    assert.isUndefined(queue.takeAwaiting("y"))
    assert.strictEqual(queue.takeAwaiting("x"), first)
    assert.deepStrictEqual(queue.nextBatch(), [])
    queue.lockFreed("x")
    const freed = queue.nextBatch()
    assert.deepStrictEqual(freed, [second])
    queue.statementEnded(freed)
    queue.end(first)
    assert.deepStrictEqual(queue.nextBatch(), [third])
  })

  it("forgets appends that are removed before they are sent", () => {
    const [a, b, c] = [append("a"), append("b"), append("c")]
    const queue = queueOf({}, a, b, c)
    queue.remove(a)
    assert.deepStrictEqual(queue.removeAll(), [b, c])
    assert.deepStrictEqual(queue.nextBatch(), [])
  })
})

/** A step of a generated run. A number selects one of the candidates for the step; without candidates nothing happens. */
const Step = Schema.Union([
  Schema.TaggedStruct("Add", {
    appends: Schema.Array(Schema.Struct({
      stream: Schema.Literals(["a", "b", "c", "d", "e", "f"]),
      command: Schema.Literals(["none", "1", "2", "3"]),
      bytes: Schema.Literals([1, 4, 30]),
      condition: Schema.Literals(["none", "none", "none", "x", "y"]),
      name: Schema.Literals(["none", "none", "x", "y", "z"])
    }))
  }),
  Schema.TaggedStruct("Send", {}),
  Schema.TaggedStruct("EndStatement", { which: Schema.Literals([0, 1, 2, 3]) }),
  Schema.TaggedStruct("End", { which: Schema.Literals([0, 1, 2, 3]) }),
  Schema.TaggedStruct("Remove", { which: Schema.Literals([0, 1, 2, 3]) })
])

const Run = Schema.Struct({
  inFlight: Schema.Literals([1, 2, 3]),
  statementAppends: Schema.Literals([1, 2, 4]),
  batchAppends: Schema.Literals([1, 2, 3, 100]),
  batchBytes: Schema.Literals([8, 1000]),
  steps: Schema.Array(Step)
})

/** Whether a condition of one of two appends names what the other one names. */
const exclude = (one: Append, other: Append): boolean =>
  one.conditionNames.some((name) => other.conditionNames.includes(name) || other.names.includes(name))
  || other.conditionNames.some((name) => one.names.includes(name))

/** Runs the steps against a queue, and keeps a record of what it was given and what it returned. */
const simulate = ({ steps, ...options }: typeof Run.Type) => {
  const queue = AppendQueue.make<Append>(options)
  const added: Array<Append> = []
  const sent: Array<Append> = []
  const removed: Array<Append> = []
  const statements: Array<ReadonlyArray<Append>> = []
  const notEnded = new Set<Append>()
  const waiting = () => added.filter((entry) => !sent.includes(entry) && !removed.includes(entry))

  const send = () => {
    const batch = queue.nextBatch()
    if (batch.length === 0) return false
    const streams = new Set(batch.map(({ stream }) => stream))
    const busy = Array.from(notEnded)
    assert.isFalse(busy.some(({ stream }) => streams.has(stream)), "no stream is in two statements at a time")
    const ids = [...busy, ...batch].flatMap(({ commandId = [] }) => commandId)
    assert.strictEqual(new Set(ids).size, ids.length, "no command id is in flight twice")
    assert.isFalse(busy.some((one) => batch.some((other) => exclude(one, other))), "no condition is in two statements")
    if (batch.some(({ conditionNames }) => conditionNames.length > 0)) {
      assert.deepStrictEqual(batch, added.filter((entry) => batch.includes(entry)), "the order of arrival")
    } else {
      const changes = batch.filter(({ stream }, index) => stream !== batch[index - 1]?.stream)
      assert.strictEqual(changes.length, streams.size, "the appends of a stream stand one after the other")
    }
    assert.isAtMost(batch.length, options.batchAppends)
    if (batch.length > 1) assert.isAtMost(batch.reduce((bytes, entry) => bytes + entry.bytes, 0), options.batchBytes)
    for (const entry of batch) notEnded.add(entry)
    statements.push(batch)
    assert.isAtMost(statements.length, options.inFlight)
    sent.push(...batch)
    return true
  }
  const endStatement = (which: number) => {
    const [batch] = statements.splice(which % Math.max(1, statements.length), 1)
    if (batch !== undefined) queue.statementEnded(batch)
  }
  const end = (which: number) => {
    // An append ends when its statement has ended, or later.
    const candidates = Array.from(notEnded).filter((entry) => !statements.some((batch) => batch.includes(entry)))
    const entry = candidates[which % Math.max(1, candidates.length)]
    if (entry === undefined) return
    notEnded.delete(entry)
    queue.end(entry)
  }

  for (const step of steps) {
    if (step._tag === "Send") send()
    else if (step._tag === "EndStatement") endStatement(step.which)
    else if (step._tag === "End") end(step.which)
    else if (step._tag === "Remove") {
      const entry = waiting()[step.which]
      if (entry === undefined) continue
      queue.remove(entry)
      removed.push(entry)
    } else {
      for (const { bytes, command, condition, name, stream } of step.appends) {
        const entry = {
          ...append(stream, command === "none" ? undefined : command, bytes),
          conditionNames: condition === "none" ? [] : [condition],
          names: name === "none" ? [] : [name]
        }
        added.push(entry)
        queue.add(entry)
      }
    }
  }
  // Everything ends, so everything can go.
  do {
    while (statements.length > 0) endStatement(0)
    while (notEnded.size > 0) end(0)
    assert.isAtMost(sent.length, added.length, "no append is sent twice")
  } while (send())
  return { added, removed, sent }
}

describe("every run of an AppendQueue", () => {
  it.prop(
    "sends each append once unless it was removed, those of a stream or an id in their order",
    [Run],
    ([run]) => {
      const { added, removed, sent } = simulate(run)
      const kept = added.filter((entry) => !removed.includes(entry))
      assert.sameOrderedMembers(namesOf(sent).toSorted(), namesOf(kept).toSorted())
      for (const field of ["stream", "commandId"] as const) {
        for (const key of new Set(kept.flatMap((entry) => entry[field] ?? []))) {
          const ofKey = (entries: ReadonlyArray<Append>) => namesOf(entries.filter((entry) => entry[field] === key))
          assert.deepStrictEqual(ofKey(sent), ofKey(kept))
        }
      }
      for (const [index, later] of kept.entries()) {
        for (const earlier of kept.slice(0, index)) {
          // An append that waits for its stream lets others pass.
          const isFirst = !added.slice(0, added.indexOf(earlier)).some(({ stream }) => stream === earlier.stream)
          if (isFirst && exclude(earlier, later)) {
            assert.isBelow(sent.indexOf(earlier), sent.indexOf(later), "order of conditions")
          }
        }
      }
    }
  )
})
