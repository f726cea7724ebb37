/**
 * The Schemas of what the commands print with `--json`. Each decodes the document, or one line of a command that prints lines.
 *
 * @since 0.1.0
 */
export { Archived as archive } from "./commands/archive.ts"
export { Audit as audit } from "./commands/audit.ts"
export { CausationTree as causation } from "./commands/causation.ts"
export { Consumers as consumers } from "./commands/consumers.ts"
export { Doctor as doctor } from "./commands/doctor.ts"
export { Erased as erase, ErasureScan as eraseScan } from "./commands/erase.ts"
export { GenerationList as generationsList, GenerationRemoved as generationsRemove } from "./commands/generations.ts"
export { Initialized as init } from "./commands/init.ts"
export { Migrate as migrate, MigrateCheck as migrateCheck, MigrateSql as migrateSql } from "./commands/migrate.ts"
export {
  ParkedBulkOutcome as parkedAll,
  ParkedInspection as parkedInspect,
  ParkedList as parkedList,
  ParkedOutcome as parkedOne
} from "./commands/parked.ts"
export { Deadlines as deadlines, Processes as processes } from "./commands/processes.ts"
export { Rebuilt as rebuild, RolledBack as rollback } from "./commands/rebuild.ts"
export { Status as status } from "./commands/status.ts"
export { StreamEvent as stream } from "./commands/stream.ts"
export { Exported as export, Imported as import } from "./commands/transfer.ts"
export { Verification as verify } from "./commands/verify.ts"
export { Tail as tail } from "./reports/EventReport.ts"
