// Bundles the command line: a CommonJS program of what every `env`, `exec` and `get` needs, which Node starts fastest, and the
// rest as modules that it loads for the other commands.
import { basename } from 'node:path'
import { build } from 'esbuild'

// Packages inside modules are CommonJS and expect `require`, `__filename` and `__dirname`.
export const moduleBanner = {
  js: [
    "import{createRequire as __cr}from'node:module';import{fileURLToPath as __fu}from'node:url';import{dirname as __dn}from'node:path';",
    'const require=__cr(import.meta.url),__filename=__fu(import.meta.url),__dirname=__dn(__filename);',
  ].join(''),
}

/** Writes `auth.cjs` and `chunks/` into `outdir`, with more `options` for esbuild. Returns the results of both builds. */
export async function buildCommandLine(outdir, options) {
  const shared = {
    bundle: true,
    platform: 'node',
    target: 'node20.19',
    outdir,
    metafile: true,
    ...options,
  }
  const modules = await build({
    ...shared,
    entryPoints: ['src/cli/main.ts', 'src/cli/on-demand.ts', 'src/cli/fast/agent.ts'],
    entryNames: 'chunks/[name]-[hash]',
    chunkNames: 'chunks/[name]-[hash]',
    outExtension: { '.js': '.mjs' },
    format: 'esm',
    splitting: true,
    banner: moduleBanner,
  })
  const program = await build({
    ...shared,
    entryPoints: { auth: 'src/bin/auth.ts' },
    outExtension: { '.js': '.cjs' },
    format: 'cjs',
    banner: { js: '#!/usr/bin/env node' },
    plugins: [...(options.plugins ?? []), modulesLater(modules.metafile)],
  })
  return [modules, program]
}

/** A module that was built by itself is not bundled: the program imports its chunk. */
function modulesLater({ outputs }) {
  const chunks = new Map(
    Object.entries(outputs)
      .filter(([, { entryPoint }]) => entryPoint !== undefined)
      .map(([file, { entryPoint }]) => [basename(entryPoint, '.ts'), `./chunks/${basename(file)}`]),
  )
  return {
    name: 'modules-later',
    setup({ onResolve }) {
      onResolve({ filter: /\/cli\/(?:fast\/)?[^/]+\.js$/ }, ({ kind, path }) => {
        const chunk = kind === 'dynamic-import' ? chunks.get(basename(path, '.js')) : undefined
        return chunk === undefined ? undefined : { path: chunk, external: true }
      })
    },
  }
}
