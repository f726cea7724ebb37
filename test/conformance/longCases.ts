/**
 * Cases that take long and that a database runs in the long tests only. They repeat others with another seed, or look at what two databases,
 * or memory and one of them, do alike.
 */
import type { Case } from "evsrc/conformance"
import { isLong } from "../support/scale.ts"

/** Another seed of a case that memory runs with all seeds. */
const onDatabases: ReadonlyArray<RegExp> = [
  /^folds documents, histories and differences as of every point \(8\)$/,
  /^folds decision models as of every position and instant \(4\)$/,
  /^returns the stored document of every position, in every lifecycle \(6\)$/,
  /^inline, async and live projections make the same documents from a log \(seed (1414|27182|31415)\)$/,
  /^lists by filter, order and page what a filter and a sort over all documents give \(seed [1-5]\)$/,
  /^random events, keys, parking and retries leave each document in the order of the log \(seed [23]\)$/,
  // What is stored of a failure is of the same columns for each option: one case for each, and `evolve` of a projection in all lifecycles.
  /^nothing quotes a name that `(document|key)` of Projection.make/,
  /^nothing quotes a name that (?!`evolve` of Projection.make).* quotes \([2-46-9]\)$/,
  /^withholds personal data that `(id|payload|deadlinePayload|deadline|correlate)` of a process manager/,
  // What a reaction that throws does, other wrong reactions do too.
  /^a reaction to (an input|a deadline) (with an own event|that sends|that sets)/,
  // Another case has a projection with each of these keys, in the same race.
  /^an inline document is the fold of the log in its order: (by position|of several streams|several keys)/,
  // What is stored of them is the text of the first.
  /^an invalid document that evolve quotes as (a text|the document) is kept nowhere/
]

const manyEvents: ReadonlyArray<RegExp> = [
  /^accepts 10,000 events/,
  /^reads all matches of a query beyond one page$/,
  /^a query of rare events reads bounded pages/
]

/** Races between the connections of a client; those between clients are in `clients.test.ts`. */
const races: ReadonlyArray<RegExp> = [
  /^(lets one of 16 conflicting|never rejects disjoint) decisions/,
  /^delivers each event once and in order under 32 concurrent writers$/,
  /^loses no update of 20 concurrent read-and-append writers$/,
  /^appends 100 disjoint decisions concurrently without a conflict$/,
  /^shows a decision every earlier match, also of unconditional appends$/
]

/** PGlite runs the statements of a PostgreSQL server, on one connection, so that nothing races in the database. */
const onPglite: ReadonlyArray<RegExp> = [
  ...onDatabases,
  ...races,
  /^reads all matches of a query beyond one page$/,
  /^inline documents of several projections and stacked layers/,
  /^lists are the same in every lifecycle/,
  /^reindex adds an index while events arrive/,
  /^hands on a partition whose handler (in a transaction )?ignores its interruption$/,
  /^an invalid document that evolve quotes as an error is kept nowhere/,
  /^nothing quotes a name that/,
  /^withholds personal data that `command` of a process manager/
]

/** Suites of code that runs the same statements on PGlite and on a PostgreSQL server, which has them in each run. */
export const suitesOnPglite: ReadonlyArray<string> = ["consumers", "process managers", "operations", "history"]

const inLongRuns = {
  PostgreSQL: onDatabases,
  PGlite: onPglite,
  /** A server with unusual settings of its sessions, which change how it reads statements and values. */
  settings: [
    ...onDatabases,
    // Many events and races repeat statements that other cases run once.
    ...manyEvents,
    ...races,
    /^excludes other workers until the lease expires/,
    /^awaitPosition does not end while/
  ],
  /** A server behind a pooler, which changes on which connection a statement runs. */
  pooler: [
    ...onDatabases,
    ...manyEvents,
    /^lists by filter, order and page what a filter and a sort over all documents give/,
    /^awaitPosition does not end while/
  ]
} as const

/** Returns the cases of a suite that a back end runs now: in a long run those that it leaves out of a short one. */
export const of =
  (backEnd: keyof typeof inLongRuns) => <R>(cases: ReadonlyArray<Case<R>>, suite = ""): ReadonlyArray<Case<R>> => {
    const isAsAWhole = backEnd === "PGlite" && suitesOnPglite.includes(suite)
    return cases.filter(({ name }) =>
      (isAsAWhole || inLongRuns[backEnd].some((pattern) => pattern.test(name))) === isLong
    )
  }

/** Returns the patterns that no name matches. */
export const unusedPatterns = (names: ReadonlyArray<string>): ReadonlyArray<RegExp> =>
  Object.values(inLongRuns).flat().filter((pattern) => !names.some((name) => pattern.test(name)))
