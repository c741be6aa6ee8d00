// Bundles the programs into dist/: start-up of a bundle is less than half of unbundled modules.
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { bundledPackages, copyKeychainModules, renderNotices, renderSbom } from './bundled.mjs'
import { buildCommandLine, moduleBanner } from './command-line.mjs'
import { installBuild } from './install-build.mjs'
import { ownFolder } from './own-folder.mjs'
import { writePage } from './page.mjs'
import { pluginWheel } from './plugin-wheel.mjs'
import { linkStages } from './stages.mjs'

const shared = {
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  legalComments: 'none',
  logLevel: 'warning',
  external: ['keytar'],
  metafile: true,
  sourcemap: process.env.PAB_SOURCEMAP === '1' ? 'inline' : false,
}

// Not needed, and half of it would be loaded at each start: zod's messages in 50 languages; ajv, which `WITHOUT_AJV`
// replaces; pino's threads; fastify's servers and clients of other protocols.
const UNUSED = [
  { of: /\/node_modules\/zod\//, what: /\/locales\/index\.js$/ },
  {
    of: /\/node_modules\/fastify\//,
    what: /^(@fastify\/ajv-compiler|@fastify\/fast-json-stringify-compiler|light-my-request|node:(https|http2|dns))$/,
  },
  { of: /\/node_modules\/pino\//, what: /^(thread-stream|worker_threads)$/ },
]
const withoutUnused = {
  name: 'without-unused',
  setup({ onResolve, onLoad }) {
    for (const { of, what } of UNUSED) {
      onResolve({ filter: what }, ({ importer, path }) =>
        of.test(importer) ? { path, namespace: 'unused' } : undefined,
      )
    }
    onLoad({ filter: /locales/, namespace: 'unused' }, () => ({ contents: 'export {}' }))
    onLoad({ filter: /./, namespace: 'unused' }, () => ({ contents: 'module.exports = {}' }))
  },
}

const outdir = ownFolder('dist.new')
const builds = await Promise.all([
  // Scripts, whose compiled forms load-authd.ts keeps.
  linkStages(
    { authd: 'src/bin/authd.ts' },
    { ...shared, outdir, define: { 'import.meta.url': '__url' }, minify: true, plugins: [withoutUnused] },
  ),
  build({
    ...shared,
    entryPoints: {
      authd: 'src/bin/load-authd.ts',
      'keychain-child': 'src/bin/keychain-child.ts',
      peers: 'src/bin/peers.ts',
    },
    outdir,
    // To load Node's loader of modules takes longer than to compile most of what is ours.
    format: 'cjs',
    define: { 'import.meta.url': '__url' },
    banner: {
      js: '#!/usr/bin/env node\n"use strict";const __url=require("node:url").pathToFileURL(__filename).href;',
    },
    minify: true,
    plugins: [withoutUnused],
  }),
  ...(await buildCommandLine(outdir, { ...shared, minify: true, plugins: [withoutUnused] })),
])

// Made by the program that the pages are about, from its own table of commands.
await build({
  ...shared,
  entryPoints: { 'man-pages': 'src/bin/man-pages.ts' },
  // Opens browsers, which no page does, and does not bear the banner.
  external: ['open'],
  outdir,
  format: 'esm',
  banner: moduleBanner,
  plugins: [withoutUnused],
})
execFileSync(process.execPath, [join(outdir, 'man-pages.js'), join(outdir, 'man')])
rmSync(join(outdir, 'man-pages.js'))

const [{ first, rest }] = builds
writeFileSync(join(outdir, 'authd.cjs'), first)
for (const [part, text] of rest) writeFileSync(join(outdir, `authd-${part}.cjs`), text)
await writePage('src/page/browser', join(outdir, 'page.json'))

const KEYTAR = 'node_modules/keytar'
copyKeychainModules(KEYTAR, outdir)
const manifest = JSON.parse(readFileSync('package.json', 'utf8'))
const packages = bundledPackages(
  builds.map(({ metafile }) => metafile),
  // The second is compiled into the modules of the first.
  [KEYTAR, 'node_modules/node-addon-api'],
)
// A build outside a checkout has no lock file, and its list no hashes.
const lock = existsSync('package-lock.json')
  ? JSON.parse(readFileSync('package-lock.json', 'utf8'))
  : { packages: {} }
writeFileSync(join(outdir, 'THIRD_PARTY_NOTICES'), renderNotices(packages))
writeFileSync(join(outdir, 'sbom.cdx.json'), renderSbom(manifest, packages, lock))
const { version } = manifest
const front = readFileSync('src/bin/prefect-auth.sh', 'utf8')
// The package is of modules, its programs are scripts.
writeFileSync(join(outdir, 'package.json'), '{"type":"commonjs"}\n')
// One script under two names: each starts the program of its name.
for (const program of ['prefect-auth', 'prefect-authd'])
  writeFileSync(join(outdir, program), front.replaceAll('@VERSION@', version))
// npm does this for what is installed; a checkout runs from here.
for (const program of ['prefect-auth', 'prefect-authd', 'auth.cjs', 'authd.js'])
  chmodSync(join(outdir, program), 0o755)
const plugin = pluginWheel('python/plugin', version)
writeFileSync(join(outdir, plugin.name), plugin.bytes)
// Published is this build alone; in a checkout, programs of the build before may still load its chunks.
installBuild(outdir, 'dist', { prune: process.argv.includes('--prune') })
