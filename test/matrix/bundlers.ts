/** Bundlers, each of which writes a program into one file. */
import { basename, dirname } from "node:path"
import { rolldown } from "rolldown"
import { build } from "vite"

/** Loads a package of the environments, whose types are not installed with this repository. */
type Require = (name: string) => unknown

type Bundle = (entry: string, file: string, require: Require) => Promise<unknown>

/** Loaded only without DATABASE_URL. */
const external = ["evsrc/pglite"]

interface Esbuild {
  readonly build: (options: object) => Promise<unknown>
}

type Webpack = (options: object, done: (error: unknown, stats: { readonly hasErrors: () => boolean }) => void) => void

export const bundlers: Readonly<Record<string, Bundle>> = {
  esbuild: (entry, outfile, require) => {
    const { build } = require("esbuild") as Esbuild
    // Some dependencies are CommonJS, and require modules of Node.
    const banner = {
      js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);`
    }
    return build({ entryPoints: [entry], outfile, bundle: true, platform: "node", format: "esm", external, banner })
  },
  rolldown: async (input, file) => {
    const bundle = await rolldown({ input, platform: "node", external })
    await bundle.write({ file, format: "esm", codeSplitting: false })
    await bundle.close()
  },
  vite: (entry, file) =>
    build({
      root: dirname(entry),
      configFile: false,
      logLevel: "error",
      ssr: { noExternal: true, external },
      build: {
        ssr: entry,
        outDir: dirname(file),
        rolldownOptions: { external, output: { entryFileNames: basename(file), codeSplitting: false } }
      }
    }),
  webpack: (entry, file, require) => {
    const webpack = require("webpack") as Webpack
    const options = {
      mode: "none",
      target: "node",
      entry,
      experiments: { outputModule: true, topLevelAwait: true, typescript: true },
      externals: Object.fromEntries(external.map((name) => [name, `import ${name}`])),
      output: {
        path: dirname(file),
        filename: basename(file),
        module: true,
        chunkFormat: "module",
        asyncChunks: false
      },
      performance: false
    }
    return new Promise<void>((resolve, reject) =>
      webpack(
        options,
        (error, stats) => error === null && !stats.hasErrors() ? resolve() : reject(new Error(String(error ?? stats)))
      )
    )
  }
}
