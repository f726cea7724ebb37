/**
 * The examples of a golden file: how they are made and upcast, and what is wrong with recorded ones.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { parseJson } from "../../core/json/parseJson.ts"
import * as Event from "../../event/Event.ts"
import * as EventCodec from "../../event/EventCodec.ts"
import * as storedVersions from "../storedVersions.ts"
import type { Example, Golden, Problem, Stored } from "./GoldenFile.ts"

/** Returns stored events in their current versions, as they would be stored now, or the reason why one does not decode. */
export type Upcast = (stored: ReadonlyArray<Stored>) => Result.Result<ReadonlyArray<Stored>, string>

export const makeUpcast = (events: Event.Any): Upcast => {
  const codec = EventCodec.make(events)
  const current = Event.versions(events) as Readonly<Record<string, number | "retired">>
  const one = (stored: Stored): Result.Result<ReadonlyArray<Stored>, string> => {
    const decoded = Result.mapError(codec.decodeData(stored), ({ detail, problem }) => `${problem}: ${detail}`)
    return Result.flatMap(
      decoded,
      (all) =>
        Result.all(all.map((event) =>
          Result.map(codec.encode(event), ({ data, type }) => ({
            type,
            schemaVersion: Number(current[type]),
            data: parseJson(JSON.stringify(data))
          }))
        ))
    )
  }
  return (stored) => Result.map(Result.all(stored.map(one)), (all) => all.flat())
}

/** A fault of one example. */
export interface Fault extends Pick<Problem, "problem" | "detail"> {
  readonly example: Example
}

/** Returns the faults of the examples, and the decodable examples with their upcast events. */
export const checkExamples = (golden: Golden, version: storedVersions.EventVersion, upcast: Upcast) => {
  const completed: Array<Example> = []
  const faults: Array<Fault> = []
  for (const example of golden.examples) {
    const current = upcast([{ ...golden, data: example.data }])
    if (Result.isFailure(current)) {
      faults.push({ problem: "Undecodable", example, detail: current.failure })
      continue
    }
    if (example.upcastTo === undefined) {
      completed.push(version.isCurrent ? example : { ...example, upcastTo: current.success })
      continue
    }
    completed.push(example)
    const recorded = Result.getOrElse(upcast(example.upcastTo), (detail) => detail)
    const [before, after] = [storedVersions.stable(recorded), storedVersions.stable(current.success)]
    if (before !== after) {
      faults.push({ problem: "UpcastChanged", example, detail: `recorded as ${before}, now upcast to ${after}` })
    }
  }
  return { completed, faults }
}

/** Returns one problem for all examples with an equal fault. */
export const summarise = (file: string, { examples }: Golden, faults: ReadonlyArray<Fault>): ReadonlyArray<Problem> =>
  Array.from(
    Map.groupBy(faults, ({ detail, problem }) => `${problem} ${detail}`).values(),
    (equal): Problem => {
      // No group is empty.
      const { detail, example, problem } = equal[0]!
      const numbers = equal.map((one) => examples.indexOf(one.example) + 1)
      const which = numbers.length === 1
        ? `example ${numbers[0]} of ${examples.length}`
        : `examples ${numbers.join(", ")} of ${examples.length}, first`
      return { problem, file, detail: `${which} ${JSON.stringify(example.data)}: ${detail}` }
    }
  )

const generatedCount = 3

/** Returns the golden file of a version, with the given examples or with generated ones. Equal Schemas generate equal examples. */
export const make = Effect.fnUntraced(function*(
  version: storedVersions.EventVersion,
  upcast: Upcast,
  given: ReadonlyArray<unknown>
): Effect.fn.Return<Result.Result<Golden, string>> {
  const { fingerprint, isCurrent, schemaVersion, type } = version
  const values = given.length > 0 ? Result.succeed(given) : yield* Effect.result(Arbitrary.sampleEffect(
    Arbitrary.schema(version.schema),
    { count: generatedCount, seed: `${type}.v${schemaVersion}`, size: 8 }
  ))
  if (Result.isFailure(values)) {
    return Result.fail("its Schema cannot generate values; give payloads in `examples` or `past`")
  }
  const examples = Result.all(values.success.map((value) =>
    Result.flatMap(version.encode(value), (data) =>
      Result.map(
        Result.mapError(upcast([{ type, schemaVersion, data }]), (detail) => `${detail}; of ${JSON.stringify(data)}`),
        (upcastTo) => (isCurrent ? { data } : { data, upcastTo })
      ))
  ))
  return Result.map(examples, ([first, ...others]) => ({
    type,
    schemaVersion,
    fingerprint,
    // There is at least one value.
    examples: [first!, ...others]
  }))
})

/** Returns the given examples that the file lacks. */
export const missingExamples = Effect.fnUntraced(function*(
  golden: Golden,
  version: storedVersions.EventVersion,
  upcast: Upcast,
  given: ReadonlyArray<unknown>
): Effect.fn.Return<Result.Result<ReadonlyArray<Example>, string>> {
  if (given.length === 0) return Result.succeed([])
  const recorded = new Set(golden.examples.map(({ data }) => storedVersions.stable(data)))
  return Result.map(
    yield* make(version, upcast, given),
    ({ examples }) => examples.filter(({ data }) => !recorded.has(storedVersions.stable(data)))
  )
})
