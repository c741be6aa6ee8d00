// The page that `prefect-auth ui` opens: one document with its style and script inside, and their hashes for its policy.
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'

const TARGET = ['chrome111', 'firefox115', 'safari16.4']

export async function writePage(folder, file) {
  const shared = {
    bundle: true,
    minify: true,
    write: false,
    legalComments: 'none',
    logLevel: 'warning',
    target: TARGET,
    // Not the one beside the files: it is for the editor, and extends one that need not be there.
    tsconfigRaw: '{}',
  }
  const text = async (entry, options) => {
    const made = await build({ ...shared, ...options, entryPoints: [join(folder, entry)] })
    return made.outputFiles[0].text.trim()
  }
  const style = await text('page.css', {})
  const script = await text('main.ts', { format: 'iife', platform: 'browser' })
  if (/<\/?script|<!--/i.test(script) || /<\/style/i.test(style))
    throw new Error('the page would end its own element')
  const html = readFileSync(join(folder, 'page.html'), 'utf8')
    // A function, because `$` in a replacement text has a meaning.
    .replace('/*STYLE*/', () => style)
    .replace('/*SCRIPT*/', () => script)
  writeFileSync(file, JSON.stringify({ html, styleHash: hashOf(style), scriptHash: hashOf(script) }))
}

function hashOf(text) {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}
