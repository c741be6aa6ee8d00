/** `[share.NAME]` of config.toml: the stores of shared keys, how they are reached, and who rotates. */

import { isAbsolute } from 'node:path'
import { parse as parseToml } from 'smol-toml'
import { z } from 'zod'
import { defined } from '../std/defined.js'

/** Where a store's secret comes from; read again at each login, because something else may rotate it. */
export type SecretSource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'env'; readonly name: string }
  /** Of the daemon's unit: `LoadCredential=`. */
  | { readonly kind: 'credential'; readonly name: string }
  /** In our own vault: `prefect-auth share secret NAME`. */
  | { readonly kind: 'vault'; readonly name: string }

/** With what the store is logged in to; `mount`: of the auth method. */
export type VaultAuth =
  /** A token that somebody else has made, such as an agent's. */
  | { readonly kind: 'token'; readonly token: SecretSource }
  | {
      readonly kind: 'approle'
      readonly mount: string
      readonly roleId: string
      readonly secretId: SecretSource
    }
  | { readonly kind: 'kubernetes'; readonly mount: string; readonly role: string; readonly jwt: SecretSource }
  /** PEM files; the key's may be read by us only. */
  | {
      readonly kind: 'cert'
      readonly mount: string
      readonly certFile: string
      readonly keyFile: string
      readonly role?: string
    }

/** How a share reaches OpenBao or HashiCorp Vault. */
export interface VaultSettings {
  /** `https://vault.example.com:8200`; `http` to loopback only. */
  readonly url: string
  readonly namespace?: string
  /** Of the KV version 2 engine: `secret`. */
  readonly mount: string
  /** In it: `prefect/prod`. */
  readonly path: string
  /** A PEM file; absent: the system's authorities. */
  readonly caFile?: string
  readonly auth: VaultAuth
}

export interface ShareSettings extends VaultSettings {
  readonly store: 'vault'
  /** The profile whose key may rotate the service account; absent: this machine only reads. */
  readonly rotateWith?: string
}

/** Of a secret in our vault. */
const SECRET_NAME = /^[a-z0-9][a-z0-9_-]{0,40}$/
const FORMS = '"file:/absolute/path", "env:NAME", "credential:NAME" or "vault:NAME"'
const POD_TOKEN = 'file:/var/run/secrets/kubernetes.io/serviceaccount/token'

const checked = <T>(parse: (text: string) => T | undefined, allowed: string) =>
  z.string({ error: allowed }).transform((text, context) => {
    const value = parse(text)
    if (value !== undefined) return value
    context.addIssue({ code: 'custom', message: allowed })
    return z.NEVER
  })

const secret = checked(parseSecretSource, FORMS)
const file = checked((text) => (isAbsolute(text) ? text : undefined), 'an absolute path')
const place = checked(parsePlace, 'a path such as secret/prefect/prod')
const word = z.string({ error: 'a text' }).min(1, 'a text')
const mount = (fallback: string) => place.optional().transform((given) => given ?? fallback)

const auth = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({ kind: z.literal('token'), token: secret }),
    z
      .strictObject({ kind: z.literal('approle'), mount: mount('approle'), role_id: word, secret_id: secret })
      .transform(({ role_id: roleId, secret_id: secretId, ...rest }) => ({ ...rest, roleId, secretId })),
    z.strictObject({
      kind: z.literal('kubernetes'),
      mount: mount('kubernetes'),
      role: word,
      jwt: secret.prefault(POD_TOKEN),
    }),
    z
      .strictObject({
        kind: z.literal('cert'),
        mount: mount('cert'),
        cert_file: file,
        key_file: file,
        role: word.optional(),
      })
      .transform(({ cert_file: certFile, key_file: keyFile, role, ...rest }) => ({
        ...rest,
        ...{ certFile, keyFile },
        ...defined({ role }),
      })),
  ],
  { error: 'a table with kind = "token", "approle", "kubernetes" or "cert"' },
)

const share = z
  .strictObject({
    store: z.literal('vault', { error: '"vault"' }),
    url: checked(parseStoreUrl, 'https://HOST[:PORT], or http to this machine itself'),
    path: place,
    mount: place.optional(),
    namespace: word.optional(),
    ca_file: file.optional(),
    rotate: z.boolean({ error: 'true or false' }).default(false),
    rotate_with: word.optional(),
    auth,
  })
  .refine(({ rotate, rotate_with }) => rotate === (rotate_with !== undefined), {
    path: ['rotate_with'],
    error: 'the profile whose key may rotate, if rotate = true, and only then',
  })
  .refine(({ path, mount: engine }) => engine !== undefined || path.includes('/'), {
    path: ['path'],
    error: 'the mount of the KV engine and the path in it, such as secret/prefect/prod',
  })
  .transform(
    ({ store, url, path, mount: engine, namespace, ca_file: caFile, rotate_with: rotateWith, auth: way }) => {
      const [first = '', ...rest] = path.split('/')
      const where = engine === undefined ? { mount: first, path: rest.join('/') } : { mount: engine, path }
      return {
        store,
        url,
        ...where,
        auth: way,
        ...defined({ namespace, caFile, rotateWith }),
      } satisfies ShareSettings
    },
  )

export type Shares = Readonly<Record<string, ShareSettings>>

const SHARE_NAME = /^[a-z0-9][a-z0-9_-]{0,40}$/i

/** Of a file that is valid TOML; each problem is one sentence. */
export function resolveShares(
  file: { readonly path: string; readonly text: string } | undefined,
  problems: { readonly message: string }[],
): Shares {
  const table = file === undefined ? undefined : tableOf(file.text)
  const found: [string, ShareSettings][] = []
  for (const [name, value] of Object.entries(table ?? {})) {
    const at = `[share.${name}] in ${file?.path}`
    const parsed = share.safeParse(value)
    if (!SHARE_NAME.test(name))
      problems.push({ message: `${at} is not valid: a name has letters, digits, - and _` })
    else if (parsed.success) found.push([name, parsed.data])
    else for (const issue of parsed.error.issues) problems.push({ message: sentence(at, issue) })
  }
  for (const [name, one] of found) {
    const twin = found.find(([other, { url, mount: engine, path }]) => {
      return other < name && url === one.url && engine === one.mount && path === one.path
    })
    if (twin !== undefined)
      problems.push({ message: `[share.${name}] and [share.${twin[0]}] have the same path` })
  }
  return Object.freeze(Object.fromEntries(found))
}

function tableOf(text: string): Record<string, unknown> | undefined {
  try {
    const { share: table } = parseToml(text)
    const isTable = typeof table === 'object' && !Array.isArray(table) && !(table instanceof Date)
    return isTable ? table : undefined
  } catch {
    // Reported with the other settings.
    return undefined
  }
}

/** Never the value: it may be a secret that was put into the wrong place. */
function sentence(at: string, { path, message, code, ...issue }: z.core.$ZodIssue): string {
  if (code === 'unrecognized_keys' && 'keys' in issue)
    return `${at}: unknown setting ${issue.keys.join(', ')}`
  const name = path.map(String).join('.')
  return name === ''
    ? `${at} is not valid: expected ${message}`
    : `${at}: ${name} is not valid: expected ${message}`
}

export function parseSecretSource(text: string): SecretSource | undefined {
  const [, kind, rest = ''] = /^(file|env|credential|vault):(.+)$/.exec(text) ?? []
  if (kind === 'file' && isAbsolute(rest)) return { kind, path: rest }
  if (kind === 'env' && /^[A-Za-z_][A-Za-z0-9_]*$/.test(rest)) return { kind, name: rest }
  if (kind === 'credential' && /^[A-Za-z0-9_.-]+$/.test(rest) && !/^\.+$/.test(rest))
    return { kind, name: rest }
  if (kind === 'vault' && SECRET_NAME.test(rest)) return { kind, name: rest }
  return undefined
}

function parsePlace(text: string): string | undefined {
  const plain = text.replace(/^\/+|\/+$/g, '')
  const isPlain = plain
    .split('/')
    .every((part) => /^[^\p{Cc}/]+$/u.test(part) && part !== '.' && part !== '..')
  return isPlain ? plain : undefined
}

function parseStoreUrl(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined
  const { protocol, hostname, pathname, search, hash, username, password, origin } = new URL(text)
  const isLoopback = hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname)
  const isSafe = protocol === 'https:' || (protocol === 'http:' && isLoopback)
  const isBare = pathname === '/' && search + hash + username + password === ''
  return isSafe && isBare ? origin : undefined
}
