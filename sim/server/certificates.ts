/** A test certificate authority and one certificate, created at start with `openssl`. */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

export interface Certificates {
  /** PEM file of the authority, for `NODE_EXTRA_CA_CERTS`, `SSL_CERT_FILE` or `certutil -A -t C,,`. */
  readonly caPath: string
  readonly cert: string
  readonly key: string
  /** Removes the files. */
  remove(): Promise<void>
}

const run = promisify(execFile)

/** Names the certificate is valid for, so that a browser accepts it for `app.prefect.cloud`. */
const NAMES = ['DNS:app.prefect.cloud', 'DNS:api.prefect.cloud', 'DNS:localhost', 'IP:127.0.0.1', 'IP:::1']

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** `names` as subject alternative names. Rejects if `openssl` is not installed. */
export async function makeCertificates(names: readonly string[] = NAMES): Promise<Certificates> {
  const dir = await mkdtemp(join(tmpdir(), 'prefect-sim-'))
  const at = (name: string) => join(dir, name)
  const openssl = (...args: string[]) => run('openssl', args, { cwd: dir })

  await openssl(
    ...['req', '-x509', ...NEW_KEY, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '30'],
    ...['-subj', '/CN=prefect-auth-broker simulator', '-addext', 'keyUsage=critical,keyCertSign'],
  )
  await openssl(
    'req',
    ...NEW_KEY,
    '-keyout',
    'leaf.key',
    '-out',
    'leaf.csr',
    '-subj',
    '/CN=app.prefect.cloud',
  )
  await writeFile(at('leaf.ext'), `subjectAltName=${names.join(',')}\nextendedKeyUsage=serverAuth\n`)
  await openssl(
    ...['x509', '-req', '-in', 'leaf.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'],
    ...['-out', 'leaf.pem', '-days', '30', '-extfile', 'leaf.ext'],
  )
  return {
    caPath: at('ca.pem'),
    cert: await readFile(at('leaf.pem'), 'utf8'),
    key: await readFile(at('leaf.key'), 'utf8'),
    remove: () => rm(dir, { recursive: true, force: true }),
  }
}
