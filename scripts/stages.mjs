// Links the daemon into scripts: what a start and the first answers need, and the rest in parts, each loaded when it is needed.
import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import { build, transform } from 'esbuild'

/** What the first script may not contain: each of them costs more than the start of Node itself. */
const LATE_PACKAGES = /node_modules\/(?:fastify|undici|zod|toml-eslint-parser)\//

/** Half of what is late, and not needed to answer: a part of its own. */
const OUT = /node_modules\/undici\//

/** What is never in the first script has zod as it is; the rest has its schemas checked in plain code first. */
const ZODS_OWN = /\/(?:src\/(?:api|http|page|wire)\/|src\/login\/callback-app\.ts$|node_modules\/)/
const plainZod = {
  name: 'plain-zod',
  setup({ onResolve, onLoad }) {
    const resolveDir = process.cwd()
    onResolve({ filter: /^zod$/ }, ({ importer, namespace }) =>
      namespace !== 'file' || ZODS_OWN.test(importer) ? undefined : { path: 'plain', namespace: 'zod' },
    )
    onResolve({ filter: /^(?:zod-itself|\.\/zod\.js)$/ }, ({ path, kind }) =>
      kind === 'entry-point' ? { path: 'itself', namespace: 'zod' } : { path, external: true },
    )
    onLoad({ filter: /^itself$/, namespace: 'zod' }, () => ({ contents: "export{z}from'zod'", resolveDir }))
    onLoad({ filter: /^plain$/, namespace: 'zod' }, () => ({
      contents: `import{createPlainSchemas}from'./src/std/plain-schemas.ts'
export const{z}=createPlainSchemas(()=>require('./zod.js').z)`,
      resolveDir,
    }))
  },
}

/**
 * Builds `entry` with esbuild's `options`, as modules split by who imports them. The first script has those that `entry`
 * imports, each of the `rest`, by name, some of those behind an `import()`; a module is in one of them, and exists once. Each
 * script is an expression for `vm.Script`. Throws if a package that may come late is in the first.
 */
export async function linkStages(entry, options) {
  const { outputFiles, metafile } = await build({
    ...options,
    plugins: [plainZod, ...options.plugins],
    entryPoints: { ...entry, zod: 'zod-itself' },
    format: 'esm',
    splitting: true,
    write: false,
    chunkNames: '[hash]',
  })
  const outputs = new Map(Object.entries(metafile.outputs).map(([path, output]) => [basename(path), output]))
  const start = `${Object.keys(entry)[0]}.js`
  const first = reach(outputs, start)
  for (const name of first) {
    const wrong = Object.keys(outputs.get(name).inputs).find((input) => LATE_PACKAGES.test(input))
    if (wrong !== undefined) throw new Error(`${wrong} is loaded at each start`)
  }
  const modules = await Promise.all(
    outputFiles.map(async ({ path, text }) => [basename(path), await asFunction(text, options)]),
  )
  const written = (names) =>
    modules.filter(([name]) => names.has(name)).map(([name, text]) => `"./${name}":${text}`)
  const parts = divide(outputs, first)
  const rest = Object.entries(parts).map(([part, names]) => [part, `({${written(names).join(',')}})`])
  const known = rest.map(([part, text]) => ({
    part,
    digest: createHash('sha256').update(text).digest('hex'),
    names: [...parts[part]].map((name) => `./${name}`),
  }))
  return {
    first: `(function(require,__filename,__dirname,__url,__late){${LINKER}\n__link({${written(first).join(',')}},"./${start}",${JSON.stringify(known)})})`,
    rest,
    metafile,
  }
}

/** The names of the outputs that are not in the first script, by part. */
function divide(outputs, first) {
  const parts = { late: new Set(), out: new Set() }
  for (const [name, { inputs }] of outputs) {
    if (!first.has(name))
      parts[Object.keys(inputs).some((input) => OUT.test(input)) ? 'out' : 'late'].add(name)
  }
  return parts
}

/** The names of the outputs that are loaded with this one. */
function reach(outputs, start) {
  const found = new Set([start])
  for (const name of found) {
    for (const { path, kind } of outputs.get(name).imports)
      if (kind === 'import-statement' && outputs.has(basename(path))) found.add(basename(path))
  }
  return found
}

/** A script that is run from kept code cannot import: each import becomes a `require`. */
async function asFunction(text, { target, minify }) {
  const { code } = await transform(text, {
    ...{ format: 'cjs', target, minify, supported: { 'dynamic-import': false }, legalComments: 'none' },
    platform: 'node',
  })
  return `function(exports,module,require){${code}}`
}

/** `require` for the modules of all scripts; a part is asked for at the first name that it has and the parts before do not. */
const LINKER = `
var __node=require,__made={},__defs,__rest;
function __require(name){
  if(name.slice(0,2)!=="./")return __node(name);
  if(Object.hasOwn(__made,name))return __made[name].exports;
  if(!Object.hasOwn(__defs,name)){
    var one=__rest.find(function(each){return each.names.includes(name)});
    Object.assign(__defs,__late(one.part,one.digest));
  }
  var module=__made[name]={exports:{}};
  try{__defs[name](module.exports,module,__require)}catch(error){delete __made[name];throw error}
  return module.exports
}
function __link(defs,start,rest){__defs=defs;__rest=rest;return __require(start)}`
