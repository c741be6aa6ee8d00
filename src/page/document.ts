/** The page's document, with the security policy that the build made for it. */
import { readFile } from 'node:fs/promises'
import { z } from 'zod'

export interface PageDocument {
  readonly html: string
  readonly headers: Readonly<Record<string, string>>
}

/** `scripts/page.mjs` writes it: the document with its style and script inside, and their hashes. */
const bundle = z.object({
  html: z.string(),
  styleHash: z.string().regex(/^sha256-[\w+/]+=$/),
  scriptHash: z.string().regex(/^sha256-[\w+/]+=$/),
})

/** Rejects if `file` is not what the build wrote. */
export async function loadPageDocument(file: string): Promise<PageDocument> {
  const { html, styleHash, scriptHash } = bundle.parse(JSON.parse(await readFile(file, 'utf8')))
  return { html, headers: { 'content-security-policy': policyOf(styleHash, scriptHash) } }
}

function policyOf(styleHash: string, scriptHash: string): string {
  return [
    "default-src 'none'",
    `style-src '${styleHash}'`,
    `script-src '${scriptHash}'`,
    "connect-src 'self'",
    // Without an icon of our own, the browser asks for one.
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ')
}
