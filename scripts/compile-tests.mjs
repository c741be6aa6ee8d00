// Compiles src, sim and test file by file, so that no test process compiles TypeScript.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { transform } from 'esbuild'

const CURRENT_TEST = new URL('./current-test.mjs', import.meta.url).href

/** Compiles into `out`, keeping the folders. `import.meta.url` and `.dirname` still name the source, so relative files are found. */
export async function compileTests(root, out) {
  const folders = await Promise.all(
    ['src', 'sim', 'test'].map(async (folder) => {
      const names = await readdir(join(root, folder), { recursive: true })
      return names.filter((name) => /\.ts$/.test(name)).map((name) => join(folder, name))
    }),
  )
  await Promise.all(
    folders.flat().map(async (file) => {
      const source = join(root, file)
      const compiled = join(out, file.replace(/\.ts$/, '.js'))
      await mkdir(dirname(compiled), { recursive: true })
      const { code } = await transform(await readFile(source, 'utf8'), {
        loader: 'ts',
        format: 'esm',
        target: 'node20.19',
        sourcefile: relative(dirname(compiled), source),
        sourcemap: 'inline',
        sourcesContent: false,
        define: {
          'import.meta.url': JSON.stringify(pathToFileURL(source).href),
          'import.meta.dirname': JSON.stringify(dirname(source)),
        },
      })
      await writeFile(compiled, code.replace(/^(import .*from )"tap"/gm, `$1${JSON.stringify(CURRENT_TEST)}`))
    }),
  )
}
