// Bundles the programs into dist/: start-up of a bundle is less than half of unbundled modules.
import { rmSync } from 'node:fs'
import { build } from 'esbuild'

const shared = {
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  legalComments: 'none',
  logLevel: 'warning',
  external: ['keytar'],
  sourcemap: process.env.PAB_SOURCEMAP === '1' ? 'inline' : false,
}

// The packages inside are CommonJS and expect `require`, `__filename` and `__dirname`.
const banner = {
  js: [
    "import{createRequire as __cr}from'node:module';import{fileURLToPath as __fu}from'node:url';import{dirname as __dn}from'node:path';",
    'const require=__cr(import.meta.url),__filename=__fu(import.meta.url),__dirname=__dn(__filename);',
  ].join(''),
}

rmSync('dist', { recursive: true, force: true })
await Promise.all([
  build({
    ...shared,
    entryPoints: { authd: 'src/bin/authd.ts', 'keychain-child': 'src/bin/keychain-child.ts' },
    outdir: 'dist',
    format: 'esm',
    banner: { js: `#!/usr/bin/env node\n${banner.js}` },
    minifySyntax: true,
    minifyWhitespace: true,
  }),
  // Split, so that `env` and `exec` load nothing they do not need.
  build({
    ...shared,
    entryPoints: { auth: 'src/bin/auth.ts' },
    outdir: 'dist',
    format: 'esm',
    splitting: true,
    chunkNames: 'chunks/[name]-[hash]',
    banner: { js: `#!/usr/bin/env node\n${banner.js}` },
    minifySyntax: true,
    minifyWhitespace: true,
  }),
])
