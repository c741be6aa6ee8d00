// Bundles the programs into dist/: start-up of a bundle is less than half of unbundled modules.
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
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

// Translations of zod's messages: 50 languages that nobody asks for.
const withoutTranslations = {
  name: 'without-translations',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /\/locales\/index\.js$/ }, ({ importer }) =>
      importer.includes('/node_modules/zod/') ? { path: 'locales', namespace: 'empty' } : undefined,
    )
    onLoad({ filter: /^locales$/, namespace: 'empty' }, () => ({ contents: 'export {}' }))
  },
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
    minify: true,
    plugins: [withoutTranslations],
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
    minify: true,
    plugins: [withoutTranslations],
  }),
])

const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
const front = readFileSync('src/bin/prefect-auth.sh', 'utf8')
writeFileSync('dist/prefect-auth', front.replaceAll('@VERSION@', version))
// npm does this for what is installed; a checkout runs from here.
for (const program of ['prefect-auth', 'auth.js', 'authd.js']) chmodSync(`dist/${program}`, 0o755)
