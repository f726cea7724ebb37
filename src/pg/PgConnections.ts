/**
 * Connections of a client's pool, on which every statement has a deadline. A connection that does not respond is closed, so that it does
 * not occupy the pool.
 *
 * @since 0.1.0
 */
import { PgClient } from "@effect/sql-pg"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as LockWait from "../core/lockWait.ts"
import { sqlState } from "../core/sqlState.ts"
import { inWords, type PgDeadlines, settingOf } from "./PgDeadlines.ts"
import { isConnectionLost } from "./PgErrors.ts"
import * as Timer from "./timer.ts"

/** How long an abandoned statement may take to be cancelled before its connection is closed. */
const cancelTimeout = 1_000

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
 * Runs statements and transactions on the connections of a client.
 *
 * @since 0.1.0
 * @category models
 */
export interface PgConnections {
  readonly sql: SqlClient
  readonly deadlines: PgDeadlines
  /** The number of connections in the client's pool. */
  readonly size: number
  /**
   * Permits for what may occupy a connection for long: waits of appends for locks, appends with inline projections, handlers of projections. All stores
   * on the client share them. Two connections remain for leases, reads and health, if the pool has three or more.
   */
  readonly occupations: Semaphore.Semaphore
  /** Runs a statement of the client, in the transaction of the caller if there is one. */
  readonly statement: <A>(statement: Effect.Effect<A, SqlError>, timeout?: number) => Effect.Effect<A, SqlError>
  /** Runs an effect in a transaction of its own, or in a savepoint of the caller's transaction. */
  readonly transaction: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: TransactionOptions
  ) => Effect.Effect<A, E | SqlError, R>
  /** Runs an effect whose statements and transactions of the client all use one connection. */
  readonly session: <A, E, R>(effect: Effect.Effect<A, E, R>, timeout: number) => Effect.Effect<A, E | SqlError, R>
}

/**
 * Options of a transaction.
 *
 * @since 0.1.0
 * @category options
 */
export interface TransactionOptions {
  /** Shows whether the transaction has sent its COMMITimer. */
  readonly state?: TransactionState | undefined
  /** Whether the server gets the deadlines too, by the first statement. `true` by default. */
  readonly isLimited?: boolean | undefined
  /** A table that the transaction locks for reading from its beginning, so that health recognizes the session as one of the store. */
  readonly reads?: string | undefined
  /** Gets the pid of the session after BEGIN, if the server gets the deadlines. */
  readonly began?: ((pid: number) => void) | undefined
  /** Looks, from another connection, for which lock a session waits, given by its pid. Runs during a statement that takes long. */
  readonly observe?: LockObserver | undefined
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

/**
 * Returns the connections of a client.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (sql: SqlClient, clientDeadlines: PgDeadlines): PgConnections => {
  const deadlines = isEmbedded(sql) ? embedded(clientDeadlines) : clientDeadlines
  const reserve = reserveWithin(sql, deadlines.connectionTimeout)
  const { statementTimeout } = deadlines
  const session = <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    timeout: number,
    transaction?: TransactionState
  ): Effect.Effect<A, E | SqlError, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(restore(reserve), ({ connection, scope }) => {
        const bounded = new BoundedConnection(connection, timeout, shared(transaction))
        // At depth -1 the client begins a transaction, instead of a savepoint, on this connection.
        return Effect.onExit(
          restore(Effect.provideService(effect, sql.transactionService, [bounded, -1])),
          () => bounded.release(scope)
        )
      })
    )

  return {
    sql,
    deadlines,
    size: sizeOf(sql),
    occupations: occupationsOf(sql),
    statement: (statement, timeout = statementTimeout) =>
      Effect.withFiber((fiber) => {
        const level = Context.getOrUndefined(fiber.context, sql.transactionService)
        if (level === undefined) return alone(sql, statement, deadlines.connectionTimeout, timeout)
        const [connection, depth] = level
        return Effect.provideService(statement, sql.transactionService, [
          connection instanceof BoundedConnection
            ? connection.withTimeout(timeout)
            : new BoundedConnection(connection, timeout),
          depth
        ])
      }),
    transaction: <A, E, R>(
      effect: Effect.Effect<A, E, R>,
      { began, isLimited = true, observe, reads, state }: TransactionOptions = {}
    ) =>
      Effect.withFiber((fiber) => {
        if (Context.getOrUndefined(fiber.context, sql.transactionService) !== undefined) {
          return sql.withTransaction(effect)
        }
        const limited: Effect.Effect<A, E | SqlError, R> = isLimited && !isEmbedded(sql)
          ? Effect.andThen(limitTransaction(sql, deadlines, { began, observe, reads }), effect)
          : effect
        return session(sql.withTransaction(limited), statementTimeout, state)
      }),
    session
  }
}

/** Gives the server the deadlines of a transaction, for a program that vanishes in it. Those of the role or the session take precedence. */
const limitTransaction = (
  sql: SqlClient,
  deadlines: PgDeadlines,
  { began, observe, reads }: Pick<TransactionOptions, "began" | "observe" | "reads">
): Effect.Effect<void, SqlError> =>
  Effect.withFiber((fiber) =>
    Effect.map(
      sql.unsafe<{ readonly pid: number }>(
        `select pg_backend_pid() as pid, count(set_config(name, value, true)) from (values ('lock_timeout', $1), ('statement_timeout', $2), `
          + `('idle_in_transaction_session_timeout', $3)) as setting(name, value) where current_setting(name) = '0'`
          + (reads === undefined ? "" : ` and not exists (select from ${reads} where false)`),
        [deadlines.lockTimeout, deadlines.statementTimeout, deadlines.idleInTransactionTimeout].map((millis) =>
          String(settingOf(millis))
        )
      ).withoutTransform,
      ([row]) => {
        began?.(row!.pid)
        const level = Context.getOrUndefined(fiber.context, sql.transactionService)
        if (observe !== undefined && level?.[0] instanceof BoundedConnection) level[0].observeBy(observe(row!.pid))
      }
    )
  )

/** PGlite runs statements on this thread, where no timer can end them. Its one connection serves all transactions of the process. */
const embedded = (deadlines: PgDeadlines): PgDeadlines => ({
  ...deadlines,
  connectionTimeout: deadlines.maintenanceTimeout,
  statementTimeout: Infinity,
  maintenanceTimeout: Infinity
})

const isPgClient = (sql: SqlClient): sql is PgClient.PgClient => PgClient.TypeId in sql

/**
 * Returns whether a client is that of a PGlite.
 *
 * @since 0.1.0
 * @category guards
 */
export const isEmbedded = (sql: SqlClient): boolean =>
  isPgClient(sql) && sql.config.stream !== undefined && sql.config.host === "pglite"

/**
 * Logs, for debugging, that a client over TCP leaves dead connections that are idle to the deadline of the next statement.
 *
 * @since 0.1.0
 * @category combinators
 */
export const checkKeepAlive = (sql: SqlClient): Effect.Effect<void> =>
  isPgClient(sql) && sql.config.keepAlive === undefined && sql.config.stream === undefined
    && sql.config.path === undefined
    ? Effect.logDebug("The SQL client has no keepAlive, so a dead connection is found only by the next statement on it")
    : Effect.void

/** The default of `PgClient`. */
const defaultSize = 10

const sizeOf = (sql: SqlClient): number =>
  isPgClient(sql) && Predicate.hasProperty(sql.config, "maxConnections") &&
    Predicate.isNumber(sql.config.maxConnections)
    ? sql.config.maxConnections
    : defaultSize

const occupations = new WeakMap<SqlClient, Semaphore.Semaphore>()

const occupationsOf = (sql: SqlClient): Semaphore.Semaphore => {
  const found = occupations.get(sql)
  if (found !== undefined) return found
  const made = Semaphore.makeUnsafe(maxOccupations(sizeOf(sql)))
  occupations.set(sql, made)
  return made
}

/**
 * Returns how many connections of a pool may be occupied for long at a time.
 *
 * @since 0.1.0
 * @category accessors
 */
export const maxOccupations = (size: number): number => Math.max(1, size - 2)

const noConnection = (timeout: number): SqlError => {
  const message =
    `no connection became free within ${
      inWords(timeout)
    } (connectionTimeout): all connections of the client's pool were `
    + "in use, or the server accepted none; nothing was sent"
  return new SqlError({ reason: new ConnectionError({ cause: new Error(message), message, operation: "connect" }) })
}

/** A fiber that a handler has forked, or a handler that was given up, may outlive the transaction. The connection belongs to others then. */
const hasEndedBefore = (): SqlError => {
  const message = "the transaction of this statement has ended; nothing was sent"
  return new SqlError({ reason: new ConnectionError({ cause: new Error(message), message, operation: "query" }) })
}

const unanswered = new WeakSet<SqlError>()

const noResponse = (timeout: number): SqlError => {
  const message = `the server did not respond within ${inWords(timeout)} (statementTimeout)`
  const error = new SqlError({
    reason: new ConnectionError({ cause: new Error(message), message, operation: "query" })
  })
  unanswered.add(error)
  return error
}

/**
 * Returns whether an error is that of a statement whose deadline has passed.
 *
 * @since 0.1.0
 * @category guards
 */
export const isNoResponse = (error: SqlError): boolean => unanswered.has(error)

/** Waits until a fiber has ended, and returns whether it has. It cannot be interrupted, and needs no other fiber. */
const hasEnded = (fiber: Fiber.Fiber<unknown, unknown>, millis: number): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const timer = Timer.start(millis, () => resume(Effect.succeed(false)))
    fiber.addObserver(() => {
      Timer.stop(timer)
      resume(Effect.succeed(true))
    })
  })

/**
 * Gives an abandoned statement time to be cancelled, and releases its connection. A connection that is released while a statement is in
 * flight is closed.
 */
const abandon = (statement: Fiber.Fiber<unknown, unknown>, scope: Scope.Closeable): Effect.Effect<void> => {
  statement.interruptUnsafe()
  return Effect.andThen(hasEnded(statement, cancelTimeout), Scope.close(scope, Exit.void))
}

/** Runs one statement on a connection of its own. */
const alone = <A>(
  sql: SqlClient,
  statement: Effect.Effect<A, SqlError>,
  connectionTimeout: number,
  timeout: number
): Effect.Effect<A, SqlError> =>
  Effect.withFiber((fiber) =>
    Effect.callback((resume) => {
      const scope = Scope.makeUnsafe()
      let isConnected = false
      let timer: Timer.Timer
      const wait = (millis: number, error: (millis: number) => SqlError) => {
        Timer.stop(timer)
        timer = Timer.start(millis, () => {
          resume(Effect.fail(error(millis)))
          Effect.runFork(abandon(running, scope))
        })
      }
      const running: Fiber.Fiber<A, SqlError> = Effect.runForkWith(Context.add(fiber.context, Scope.Scope, scope))(
        Effect.onExit(
          Effect.flatMap(sql.reserve, (connection) => {
            isConnected = true
            wait(timeout, noResponse)
            return Effect.provideService(statement, sql.transactionService, [connection, 0])
          }),
          (exit) => Scope.close(scope, exit)
        )
      )
      if (!isConnected) wait(connectionTimeout, noConnection)
      running.addObserver((exit) => {
        Timer.stop(timer)
        resume(exit)
      })
      return Effect.suspend(() => {
        Timer.stop(timer)
        return abandon(running, scope)
      })
    })
  )

/**
 * Fails an effect after a timeout. The caller waits neither then nor at an interruption until the effect has ended.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withTimeout = <A>(effect: Effect.Effect<A, SqlError>, timeout: number): Effect.Effect<A, SqlError> =>
  Effect.withFiber((fiber) =>
    Effect.callback((resume) => {
      const running = Effect.runForkWith(fiber.context)(effect)
      const timer = Timer.start(timeout, () => {
        resume(Effect.fail(noResponse(timeout)))
        running.interruptUnsafe()
      })
      running.addObserver((exit) => {
        Timer.stop(timer)
        resume(exit)
      })
      return Effect.sync(() => {
        Timer.stop(timer)
        running.interruptUnsafe()
      })
    })
  )

interface Reserved {
  readonly connection: Connection
  readonly scope: Scope.Closeable
}

/** Reserves a connection. The caller releases it by closing the scope. */
const reserveWithin = (sql: SqlClient, timeout: number): Effect.Effect<Reserved, SqlError> =>
  Effect.withFiber((fiber) =>
    Effect.callback((resume) => {
      const scope = Scope.makeUnsafe()
      const running = Effect.runForkWith(Context.add(fiber.context, Scope.Scope, scope))(sql.reserve)
      const timer = Timer.start(timeout, () => {
        resume(Effect.fail(noConnection(timeout)))
        Effect.runFork(abandon(running, scope))
      })
      running.addObserver((exit) => {
        Timer.stop(timer)
        resume(Exit.map(exit, (connection) => ({ connection, scope })))
      })
      return Effect.suspend(() => {
        Timer.stop(timer)
        return abandon(running, scope)
      })
    })
  )

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

const shared = (transaction?: TransactionState): Shared => ({
  transaction,
  running: new Set(),
  lost: undefined,
  isReleased: false,
  observe: undefined
})

/** A connection on which every statement has a deadline. After a lost one, or after its release, it sends nothing more. */
class BoundedConnection implements Connection {
  readonly #connection: Connection
  readonly #timeout: number
  readonly #shared: Shared

  constructor(connection: Connection, timeout: number, view: Shared = shared()) {
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
