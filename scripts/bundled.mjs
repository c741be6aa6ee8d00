// Which packages a build contains, their licences as THIRD_PARTY_NOTICES, and the same list as an SBOM.
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const LICENCE = /^(licen[cs]e|copying|notice)([.-].*)?$/i

/** Every package of which a file went into one of the builds, and those in `others` (folders), sorted by name and version. */
export function bundledPackages(metafiles, others = []) {
  const files = metafiles.flatMap(({ inputs }) => Object.keys(inputs))
  const folders = files.flatMap((file) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? [])
  const found = [...new Set([...folders, ...others])].map(describe)
  // The same version may be installed in two places.
  const unique = new Map(found.map((one) => [`${one.name}@${one.version}`, one]))
  return [...unique.values()].sort((a, b) => (`${a.name}@${a.version}` < `${b.name}@${b.version}` ? -1 : 1))
}

function describe(folder) {
  const { name, version, license, author, repository } = JSON.parse(
    readFileSync(join(folder, 'package.json'), 'utf8'),
  )
  const texts = readdirSync(folder)
    .filter((file) => LICENCE.test(file))
    .sort()
    .map((file) => readFileSync(join(folder, file), 'utf8').trim())
  if (texts.length === 0) texts.push(readmeLicence(folder, `${name}@${version}`))
  const source = typeof repository === 'string' ? repository : repository?.url
  return { name, version, licence: license, author, source, text: texts.join('\n\n'), folder }
}

/** Some packages have their licence in the README only. A package without one must not be shipped. */
function readmeLicence(folder, id) {
  const readme = readdirSync(folder).find((file) => /^readme(\.|$)/i.test(file))
  const text = readme === undefined ? '' : readFileSync(join(folder, readme), 'utf8')
  const [, section] = /^#+ *licen[cs]e *\n([\s\S]+?)(?=^#|(?![\s\S]))/im.exec(text) ?? []
  if (section === undefined) throw new Error(`${id} has no licence text: it cannot be bundled`)
  return section.trim()
}

export function renderNotices(packages) {
  const parts = packages.map(
    ({ name, version, licence, source, text }) =>
      `${name} ${version}\nLicence: ${licence}${source === undefined ? '' : `\nSource: ${source}`}\n\n${text}\n`,
  )
  const line = `${'-'.repeat(80)}\n`
  return `Prefect Auth Broker contains the following software of others.\n\n${parts.map((part) => `${line}${part}\n`).join('')}`
}

/** CycloneDX 1.6. The same for the same build: no time, no random number. */
export function renderSbom({ name, version, license, description }, packages, lock) {
  const components = packages.map((one) => {
    const integrity = lock.packages[one.folder]?.integrity
    const purl = purlOf(one.name, one.version)
    return {
      type: 'library',
      'bom-ref': purl,
      name: one.name,
      version: one.version,
      licenses: [
        / (OR|AND|WITH) /.test(one.licence) ? { expression: one.licence } : { license: { id: one.licence } },
      ],
      purl,
      ...(integrity?.startsWith('sha512-') && {
        hashes: [{ alg: 'SHA-512', content: Buffer.from(integrity.slice(7), 'base64').toString('hex') }],
      }),
    }
  })
  const ref = purlOf(name, version)
  const component = {
    type: 'application',
    'bom-ref': ref,
    name,
    version,
    description,
    licenses: [{ license: { id: license } }],
    purl: ref,
  }
  const bom = {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: { component },
    components,
    dependencies: [{ ref, dependsOn: components.map(({ purl }) => purl) }],
  }
  return `${JSON.stringify(bom, undefined, 2)}\n`
}

function purlOf(name, version) {
  return `pkg:npm/${name.replace('@', '%40')}@${version}`
}

/** keytar's modules for every system on which the daemon runs, so that nothing has to be installed or built for them. */
export function copyKeychainModules(keytar, outdir) {
  const prebuilds = join(keytar, 'prebuilds')
  for (const system of readdirSync(prebuilds).filter((name) => /^(darwin|linux)/.test(name))) {
    const file = join(prebuilds, system, 'keytar.node')
    if (!existsSync(file)) continue
    const to = join(outdir, 'keytar', system, 'keytar.node')
    mkdirSync(dirname(to), { recursive: true })
    copyFileSync(file, to)
  }
  copyFileSync(join(keytar, 'LICENSE.md'), join(outdir, 'keytar', 'LICENSE.md'))
}
