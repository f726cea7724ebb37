import { layer } from "@effect/vitest"
import { Effect, type Layer, References } from "effect"
import type { Case } from "evsrc/conformance"

interface Options {
  /** Runs cases beside each other. For cases that mostly wait and look at nothing that other cases change; not by default. */
  readonly concurrent?: boolean
}

/** Runs a conformance suite on a back end, on the real clock and without logs, over one build of its layer. */
export const conformance = <R, E>(
  backEnd: string,
  services: Layer.Layer<R, E>,
  cases: ReadonlyArray<Case<R>>,
  { concurrent = false }: Options = {}
): void => {
  if (cases.length === 0) return
  layer(services, { excludeTestServices: true, timeout: 300_000 })(backEnd, (it) => {
    for (const { name, test } of cases) {
      it.effect(name, () => Effect.provideService(test, References.MinimumLogLevel, "None"), { concurrent })
    }
  })
}
