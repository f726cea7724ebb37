/**
 * A connection on which every statement has a deadline, and its release after a transaction.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { Connection } from "effect/sql/SqlConnection"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as LockWait from "../../core/lockWait.ts"
import { sqlState } from "../../core/sqlState.ts"
import { isConnectionLost } from "../PgErrors.ts"
import * as Timer from "../timer.ts"
import { cancelTimeout, hasEnded, noResponse } from "./StatementDeadline.ts"

/**
 * Whether a transaction has sent its COMMIT, so that a lost connection leaves its outcome unknown.
 *
 * @since 0.1.0
 * @category models
 */
export interface TransactionState {
  commitSent: boolean
}

/**
 * Returns for which lock a session waits, if it does.
 *
 * @since 0.1.0
 * @category models
 */
export type LockObserver = (pid: number) => Effect.Effect<LockWait.LockWait | undefined>

/** A statement that takes longer, in milliseconds, is looked at: it may wait for a lock. */
const observeAfter = 500

/** A fiber that a handler has forked, or a handler that was given up, may outlive the transaction. The connection belongs to others then. */
const hasEndedBefore = (): SqlError => {
  const message = "the transaction of this statement has ended; nothing was sent"
  return new SqlError({ reason: new ConnectionError({ cause: new Error(message), message, operation: "query" }) })
}

type TransformRows = Parameters<Connection["execute"]>[2]

interface Lost {
  readonly error: SqlError
  readonly statement: Fiber.Fiber<unknown, unknown>
}

/** What the views of one connection share. */
interface Shared {
  readonly transaction: TransactionState | undefined
  /** The statements in flight. */
  readonly running: Set<Fiber.Fiber<unknown, unknown>>
  lost: Lost | undefined
  isReleased: boolean
  /** Looks for which lock the session waits. */
  observe: ReturnType<LockObserver> | undefined
}

/**
 * A connection on which every statement has a deadline. After a lost one, or after its release, it sends nothing more.
 *
 * @since 0.1.0
 * @category models
 */
export class BoundedConnection implements Connection {
  readonly #connection: Connection
  readonly #timeout: number
  readonly #shared: Shared

  constructor(connection: Connection, timeout: number, view: Shared) {
    this.#connection = connection
    this.#timeout = timeout
    this.#shared = view
  }

  withTimeout(timeout: number): BoundedConnection {
    return timeout === this.#timeout ? this : new BoundedConnection(this.#connection, timeout, this.#shared)
  }

  observeBy(observe: ReturnType<LockObserver>): void {
    this.#shared.observe = observe
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return this.#run(sql, this.#connection.execute(sql, params, transformRows))
  }

  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.#run(sql, this.#connection.executeRaw(sql, params))
  }

  // The rows arrive at the pace of the caller, so each wait for further ones has the deadline.
  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return Stream.suspend(() => {
      const rejected = this.#rejected()
      return rejected === undefined
        ? this.#connection.executeStream(sql, params, transformRows).pipe(
          Stream.timeoutOrElse({ duration: this.#timeout, orElse: () => Stream.fail(noResponse(this.#timeout)) })
        )
        : Stream.fail(rejected)
    })
  }

  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return this.#run(sql, this.#connection.executeValues(sql, params))
  }

  executeValuesUnprepared(sql: string, params: ReadonlyArray<unknown>) {
    return this.#run(sql, this.#connection.executeValuesUnprepared(sql, params))
  }

  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return this.#run(sql, this.#connection.executeUnprepared(sql, params, transformRows))
  }

  /** Releases the connection. The caller does not wait for the end of a lost statement. */
  release(scope: Scope.Closeable): Effect.Effect<void> {
    const { lost } = this.#shared
    this.#shared.isReleased = true
    return lost === undefined
      ? Scope.close(scope, Exit.void)
      : Effect.sync(() => {
        Effect.runFork(this.#discard(lost, scope))
      })
  }

  /** If the lost statement could be cancelled, the transaction is rolled back. Otherwise the connection is closed, by its release. */
  #discard({ statement }: Lost, scope: Scope.Closeable): Effect.Effect<void> {
    const rollback = Effect.suspend(() =>
      hasEnded(Effect.runFork(this.#connection.executeUnprepared("ROLLBACK", [], undefined)), cancelTimeout)
    )
    return Effect.andThen(
      Effect.flatMap(hasEnded(statement, cancelTimeout), (isCancelled) => isCancelled ? rollback : Effect.void),
      Scope.close(scope, Exit.void)
    )
  }

  #rejected(): SqlError | undefined {
    return this.#shared.lost?.error ?? (this.#shared.isReleased ? hasEndedBefore() : undefined)
  }

  /** A statement in flight is that of a handler that was given up. The end of the transaction does not wait for it. */
  #giveUp(): void {
    const [statement] = this.#shared.running
    if (statement === undefined) return
    this.#shared.lost ??= { error: hasEndedBefore(), statement }
    for (const one of this.#shared.running) one.interruptUnsafe()
  }

  #run<A>(sql: string, statement: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    // The server rolls back a session that is lost.
    if (sql.startsWith("ROLLBACK") || sql.startsWith("RELEASE")) {
      return Effect.catchIf(
        Effect.suspend(() => {
          if (sql === "ROLLBACK") this.#giveUp()
          return this.#within(statement)
        }),
        (error) => error.reason._tag === "ConnectionError",
        () => Effect.succeed<A>([] as A)
      )
    }
    const { transaction } = this.#shared
    return sql !== "COMMIT" || transaction === undefined ? this.#within(statement) : Effect.suspend(() => {
      if (this.#shared.lost === undefined) transaction.commitSent = true
      return this.#within(statement)
    })
  }

  #within<A>(statement: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return Effect.withFiber((fiber) => {
      const rejected = this.#rejected()
      if (rejected !== undefined) return Effect.fail(rejected)
      return Effect.callback((resume) => {
        const running = Effect.runForkWith(fiber.context)(statement)
        this.#shared.running.add(running)
        const lose = (error: SqlError): SqlError => {
          this.#shared.lost = { error, statement: running }
          return error
        }
        const end = (): void => {
          resume(Effect.fail(lose(noResponse(this.#timeout))))
          running.interruptUnsafe()
        }
        const { observe } = this.#shared
        let seen: LockWait.LockWait | undefined
        let timer = observe === undefined || this.#timeout <= observeAfter
          ? Timer.start(this.#timeout, end)
          : Timer.start(observeAfter, () => {
            timer = Timer.start(this.#timeout - observeAfter, end)
            Effect.runFork(Effect.map(observe, (wait) => {
              seen = wait
            }))
          })
        running.addObserver((exit) => {
          this.#shared.running.delete(running)
          Timer.stop(timer)
          const error = Exit.findErrorOption(exit)
          if (Option.isSome(error)) {
            if (isConnectionLost(error.value)) lose(error.value)
            if (seen !== undefined && sqlState(error.value) === "55P03") LockWait.observed(error.value, seen)
          }
          resume(exit)
        })
        return Effect.suspend(() => {
          Timer.stop(timer)
          running.interruptUnsafe()
          return Effect.map(hasEnded(running, cancelTimeout), (isCancelled) => {
            if (!isCancelled) lose(noResponse(this.#timeout))
          })
        })
      })
    })
  }
}

/**
 * Returns a connection on which every statement has a deadline.
 *
 * @since 0.1.0
 * @category constructors
 */
export const bound = (connection: Connection, timeout: number, transaction?: TransactionState): BoundedConnection =>
  new BoundedConnection(connection, timeout, {
    transaction,
    running: new Set(),
    lost: undefined,
    isReleased: false,
    observe: undefined
  })
