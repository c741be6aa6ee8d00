// Writes the plugin's wheel without Python: `npm run build` must not need any, and a pure wheel is a zip of a few texts.
// Its metadata is python/plugin/pyproject.toml; a test compares it with what hatchling makes of the same folder.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { parse } from 'smol-toml'

/** The name and the bytes of the wheel of `folder`. The same bytes for the same files: no time, no random number. */
export function pluginWheel(folder, version) {
  const { project } = parse(readFileSync(join(folder, 'pyproject.toml'), 'utf8'))
  const stem = `${project.name.replaceAll('-', '_')}-${version}`
  const info = `${stem}.dist-info`
  const module = project.name.replaceAll('-', '_')
  const sources = readdirSync(join(folder, module))
    .filter((name) => name.endsWith('.py'))
    .sort()
    .map((name) => [`${module}/${name}`, readFileSync(join(folder, module, name), 'utf8')])
  const files = [
    ...sources,
    [`${info}/METADATA`, renderMetadata(project, version, readFileSync(join(folder, 'README.md'), 'utf8'))],
    [
      `${info}/WHEEL`,
      'Wheel-Version: 1.0\nGenerator: prefect-auth-broker\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    ],
    [`${info}/entry_points.txt`, renderEntryPoints(project['entry-points'])],
    [`${info}/licenses/LICENSE`, readFileSync('LICENSE', 'utf8')],
  ].map(([name, text]) => ({ name, bytes: Buffer.from(text) }))
  const record = { name: `${info}/RECORD`, bytes: Buffer.from(renderRecord(files, `${info}/RECORD`)) }
  return { name: `${stem}-py3-none-any.whl`, bytes: zip([...files, record]) }
}

function renderMetadata(project, version, readme) {
  const fields = [
    ['Metadata-Version', '2.4'],
    ['Name', project.name],
    ['Version', version],
    ['Summary', project.description],
    ['License-Expression', project.license],
    ...project['license-files'].map((file) => ['License-File', file]),
    ['Keywords', [...project.keywords].sort().join(',')],
    ...project.classifiers.map((classifier) => ['Classifier', classifier]),
    ['Requires-Python', project['requires-python']],
    ['Description-Content-Type', 'text/markdown'],
  ]
  return `${fields.map(([name, value]) => `${name}: ${value}\n`).join('')}\n${readme}`
}

function renderEntryPoints(groups) {
  return Object.entries(groups)
    .map(([group, entries]) => {
      const lines = Object.entries(entries).map(([name, value]) => `${name} = ${value}\n`)
      return `[${group}]\n${lines.join('')}`
    })
    .join('\n')
}

function renderRecord(files, self) {
  const lines = files.map(({ name, bytes }) => {
    const digest = createHash('sha256').update(bytes).digest('base64url')
    return `${name},sha256=${digest},${bytes.length}\n`
  })
  return `${lines.join('')}${self},,\n`
}

/** 1 January 1980: the first day of zip files. */
const FIRST_DAY = 0x21
const REGULAR_0644 = 0o100644

/** A zip file without compression: a few kB in all. */
function zip(files) {
  const locals = []
  const centrals = []
  let offset = 0
  for (const { name, bytes } of files) {
    const path = Buffer.from(name)
    const common = Buffer.alloc(26)
    common.writeUInt16LE(20, 0) // needs version 2.0
    common.writeUInt16LE(FIRST_DAY, 8)
    common.writeUInt32LE(crc32(bytes), 10)
    common.writeUInt32LE(bytes.length, 14)
    common.writeUInt32LE(bytes.length, 18)
    common.writeUInt16LE(path.length, 22)
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, path, bytes])
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(REGULAR_0644 * 0x10000, 6)
    tail.writeUInt32LE(offset, 10)
    const made = Buffer.from([20, 3]) // on Unix: the modes count
    centrals.push(Buffer.concat([Buffer.from('PK\x01\x02'), made, common, tail, path]))
    locals.push(local)
    offset += local.length
  }
  const directory = Buffer.concat(centrals)
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 0, 'latin1')
  end.writeUInt16LE(files.length, 8)
  end.writeUInt16LE(files.length, 10)
  end.writeUInt32LE(directory.length, 12)
  end.writeUInt32LE(offset, 16)
  return Buffer.concat([...locals, directory, end])
}
