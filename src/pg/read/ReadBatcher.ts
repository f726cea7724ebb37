/**
 * Group read: reads that arrive in one turn of the event loop, or while statements of others are in flight, go out together as the next one. A read that
 * arrives alone and finds few statements in flight goes at once; nothing waits for a timer.
 *
 * `RequestResolver` of Effect does not fit: once a batch is full it sends it, however many statements are in flight; a batch has the context of
 * its first caller; and its statement goes on when all of its callers are interrupted.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import { type EventStoreError, storeError, StoreUnavailable } from "../../core/errors.ts"
import { inWords } from "../PgDeadlines.ts"
import { isOfOneRead } from "../PgErrors.ts"
import * as Timer from "../timer.ts"
import * as Turn from "../turn.ts"

/**
 * How many statements group read allows at a time, and how large they are.
 *
 * @since 0.1.0
 * @category options
 */
export interface ReadBatcherOptions {
  /** How many reads may be waiting or in flight for those that arrive to be sent at once. 8 by default. */
  readonly alone?: number | undefined
  /** The maximum number of statements in flight when there are more. 2 by default. */
  readonly inFlight?: number | undefined
  /** The maximum number of reads in a statement. 64 by default. */
  readonly batchReads?: number | undefined
}

/**
 * The statements of a kind of reads.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadStatements<Request, Answer> {
  /** Reads one alone. */
  readonly one: (request: Request) => Effect.Effect<Answer, EventStoreError>
  /** Reads several by one statement, and returns the answers in their order. */
  readonly many: (requests: ReadonlyArray<Request>) => Effect.Effect<ReadonlyArray<Answer>, EventStoreError>
  /** How long a read waits to be sent, in milliseconds. */
  readonly timeout: number
  /** Returns how much a read asks for; 1 by default. */
  readonly sizeOf?: ((request: Request) => number) | undefined
  /** Returns how many reads of one turn share a statement while few are under way; all by default. Long ones are faster side by side. */
  readonly together?: (() => number) | undefined
  /** The maximum of what the reads of a statement ask for together. A single read may exceed it. */
  readonly maxSize?: number | undefined
}

type Options = { readonly [Name in keyof ReadBatcherOptions]: NonNullable<ReadBatcherOptions[Name]> }

/**
 * In milliseconds. A statement that takes two of these intervals does not keep other reads from being sent any more: it may be large, or its connection
 * lost.
 */
const interval = 20

/** The maximum number of such statements. */
const maxStalled = 16

interface Pending<Request, Answer> {
  readonly request: Request
  /** The span of the caller. */
  readonly span: Tracer.AnySpan | undefined
  readonly resume: (answer: Effect.Effect<Answer, EventStoreError>) => void
  /** For how many intervals it has waited. */
  waited: number
  /** The statement that reads it, once it was sent. */
  statement: Statement | undefined
}

interface Statement {
  readonly reads: number
  /** How many of its callers wait for it. */
  callers: number
  /** For how many intervals it has been in flight. */
  took: number
  fiber: Fiber.Fiber<void> | undefined
}

/** The statements in flight, and how many there may be. */
class InFlight {
  readonly #statements = new Set<Statement>()
  readonly #options: Required<Options>
  #reads = 0
  constructor(options: Required<Options>) {
    this.#options = options
  }
  begin(reads: number): Statement {
    const statement: Statement = { reads, callers: reads, took: 0, fiber: undefined }
    this.#statements.add(statement)
    this.#reads += reads
    return statement
  }
  end(statement: Statement): void {
    if (this.#statements.delete(statement)) this.#reads -= statement.reads
  }
  intervalEnded(): void {
    for (const statement of this.#statements) statement.took++
  }
  /** Returns how many of the reads that wait the next statement has, of `together` while few are under way; 0 if none may be sent now. */
  next(waiting: number, together: number): number {
    const { alone, batchReads, inFlight } = this.#options
    const reads = this.#reads + waiting
    const allowed = reads <= alone ? alone : inFlight
    if (waiting === 0 || this.#statements.size - Math.min(this.#stalled(), maxStalled) >= allowed) return 0
    // An equal part for each statement: otherwise one takes nearly all.
    return Math.min(batchReads, reads <= alone ? Math.min(waiting, together) : Math.ceil(reads / inFlight))
  }
  #stalled(): number {
    let stalled = 0
    for (const { took } of this.#statements) if (took > 1) stalled++
    return stalled
  }
}

/**
 * Returns a function that reads, alone or together with others. Call it outside of transactions only.
 *
 * **Details**
 *
 * A read that is interrupted before its statement was sent is not sent. A statement is interrupted when all of its callers are. If one of the reads
 * may be why a statement failed, each of its callers reads alone. When the scope closes, those that wait read alone too.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*<Request, Answer>(
  statements: ReadStatements<Request, Answer>,
  { alone = 8, batchReads = 64, inFlight: maxInFlight = 2 }: ReadBatcherOptions = {}
): Effect.fn.Return<(request: Request) => Effect.Effect<Answer, EventStoreError>, never, Scope.Scope> {
  const { maxSize = Infinity, one, sizeOf = () => 1, timeout, together = () => Infinity } = statements
  const waiting = new Set<Pending<Request, Answer>>()
  const inFlight = new InFlight({ alone, batchReads, inFlight: maxInFlight })
  let timer: Timer.Timer
  let isClosed = false

  const fibers = yield* FiberSet.make()
  const fork = yield* FiberSet.runtime(fibers)<never>()
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      isClosed = true
      Timer.stop(timer)
      for (const { request, resume } of waiting) resume(one(request))
      waiting.clear()
    })
  )

  const sendNext = (): void => {
    const next = () => inFlight.next(waiting.size, together())
    for (let reads = next(); reads > 0; reads = next()) {
      const batch = take(waiting, { reads, maxSize, sizeOf: ({ request }) => sizeOf(request) })
      const statement = inFlight.begin(batch.length)
      for (const pending of batch) pending.statement = statement
      statement.fiber = fork(Effect.ensuring(answer(statements, batch), Effect.sync(() => end(statement))))
    }
  }
  const end = (statement: Statement): void => {
    inFlight.end(statement)
    sendNext()
  }
  /** A read that came alone runs in the fiber of its caller. */
  const sendSoon = Turn.atEnd(() => {
    const [only] = waiting
    if (waiting.size !== 1 || only === undefined || inFlight.next(1, 1) === 0) return sendNext()
    waiting.delete(only)
    only.resume(readAlone(only.request))
  })

  const intervalEnded = (): void => {
    timer = undefined
    inFlight.intervalEnded()
    for (const pending of waiting) {
      if (++pending.waited * interval < timeout) continue
      waiting.delete(pending)
      pending.resume(Effect.fail(notSent(timeout)))
    }
    sendNext()
    startInterval()
  }
  const startInterval = (): void => {
    if (waiting.size > 0) timer ??= Timer.start(interval, intervalEnded)
  }

  const readAlone = (request: Request): Effect.Effect<Answer, EventStoreError> =>
    Effect.uninterruptibleMask((restore) => {
      const statement = inFlight.begin(1)
      return Effect.onExit(restore(one(request)), () => {
        end(statement)
        return Effect.void
      })
    })

  const added = (): void => {
    sendSoon()
    startInterval()
  }

  /** Whether a read need not wait for the end of the turn: those of the turn would not share its statement. */
  const isAlone = () => waiting.size === 0 && together() === 1 && inFlight.next(1, 1) > 0

  return (request) =>
    Effect.suspend(() => isClosed || isAlone() ? readAlone(request) : readInTurn(waiting, request, added))
})

/** Adds a read to those that wait for a statement. */
const readInTurn = <Request, Answer>(
  waiting: Set<Pending<Request, Answer>>,
  request: Request,
  added: () => void
): Effect.Effect<Answer, EventStoreError> =>
  Effect.withFiber(({ context }) =>
    Effect.callback((resume) => {
      const span = Context.getOrUndefined(context, Tracer.ParentSpan)
      const pending: Pending<Request, Answer> = { request, span, resume, waited: 0, statement: undefined }
      waiting.add(pending)
      added()
      return Effect.sync(() => {
        waiting.delete(pending)
        const { statement } = pending
        if (statement !== undefined && --statement.callers === 0) statement.fiber?.interruptUnsafe()
      })
    })
  )

const take = <P>(
  waiting: Set<P>,
  { maxSize, reads, sizeOf }: {
    readonly reads: number
    readonly maxSize: number
    readonly sizeOf: (pending: P) => number
  }
): ReadonlyArray<P> => {
  const taken: Array<P> = []
  let size = 0
  for (const pending of waiting) {
    size += sizeOf(pending)
    if (taken.length > 0 && size > maxSize) break
    taken.push(pending)
    waiting.delete(pending)
    if (taken.length === reads) break
  }
  return taken
}

const answerOne = <Request, Answer>(
  { request, resume, span }: Pending<Request, Answer>,
  one: ReadStatements<Request, Answer>["one"]
): Effect.Effect<void> => {
  const read = answering(one(request), (exit) => resume(exit))
  return span === undefined ? read : Effect.withParentSpan(read, span, { captureStackTrace: false })
}

const answer = <Request, Answer>(
  statements: ReadStatements<Request, Answer>,
  batch: ReadonlyArray<Pending<Request, Answer>>
): Effect.Effect<void> =>
  batch.length === 1
    ? answerOne(batch[0]!, statements.one)
    : answerAll(batch, statements).pipe(
      Effect.withSpan("EventStore.groupRead", {
        root: true,
        links: batch.flatMap(({ span }) => span === undefined ? [] : [{ span, attributes: {} }]),
        attributes: { "evsrc.reads": batch.length }
      }, { captureStackTrace: false })
    )

const answerAll = <Request, Answer>(
  batch: ReadonlyArray<Pending<Request, Answer>>,
  { many, one }: ReadStatements<Request, Answer>
): Effect.Effect<void> =>
  answering(Effect.suspend(() => many(batch.map(({ request }) => request))), (exit) => {
    if (Exit.isSuccess(exit)) {
      for (const [index, { resume }] of batch.entries()) resume(Effect.succeed(exit.value[index]!))
      return
    }
    const error = Exit.findErrorOption(exit)
    const isOfOne = Option.isSome(error) && isOfOneRead(error.value)
    const failed = Exit.failCause(exit.cause)
    for (const { request, resume } of batch) resume(isOfOne ? one(request) : failed)
  })

/** Gives the result of a read to its callers. They are not interrupted when the read is, at the end of the scope. */
const answering = <A>(
  read: Effect.Effect<A, EventStoreError>,
  answer: (exit: Exit.Exit<A, EventStoreError>) => void
): Effect.Effect<void> =>
  Effect.exit(
    Effect.onExit(read, (exit) => Effect.sync(() => answer(Exit.hasInterrupts(exit) ? Exit.fail(closedError) : exit)))
  )

const closedError: EventStoreError = storeError(
  new StoreUnavailable({ message: "The event store is closed; nothing was read", cause: undefined })
)

const notSent = (timeout: number): EventStoreError =>
  storeError(
    new StoreUnavailable({
      message: `The read was not sent within ${
        inWords(timeout)
      } (connectionTimeout), because the statements before it did not end`,
      cause: undefined
    })
  )
