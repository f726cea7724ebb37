/**
 * The whole log, as it is taken from one store to another: `Log.export`, `Log.import`, and both with a file.
 *
 * @since 0.1.0
 */
export { exportLog as export, type ExportOptions, type Progress } from "./LogExport.ts"
export { exportToFile, type ExportToFileOptions, importFromFile } from "./LogFiles.ts"
export { type Imported, importLog as import, type ImportOptions, type Verified, verify } from "./LogImport.ts"
export { DamagedExport, TransferRefused } from "./TransferError.ts"
