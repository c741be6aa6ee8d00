/** A marked block in a file of the user's: put at its end, found again, and taken out so that every other byte stays. */

const begin = (part: string) => `# >>> prefect-auth setup: ${part} >>>`
const end = (part: string) => `# <<< prefect-auth setup: ${part} <<<`

/** The block with these lines. */
export function renderBlock(part: string, lines: readonly string[]): string {
  return [begin(part), '# To take it out: prefect-auth setup --remove', ...lines, end(part), ''].join('\n')
}

/** What is to be done with a file so that it has the block. Texts are one character a byte: a file may have any encoding. */
type BlockPlan =
  | { readonly kind: 'there' }
  /** There is a block that is not as it was written: the user changed it. */
  | { readonly kind: 'edited' }
  /** `inserted`: the exact bytes that are new, for the record. */
  | { readonly kind: 'write'; readonly text: string; readonly inserted: string }

/** `before`: what an earlier setup inserted into this file, which is replaced in its place. */
export function planBlock(text: string, part: string, block: string, before?: string): BlockPlan {
  if (text.includes(block)) return { kind: 'there' }
  if (before !== undefined && text.includes(before)) {
    const inserted = `${before.startsWith('\n') ? '\n' : ''}${block}`
    return { kind: 'write', text: text.replace(before, () => inserted), inserted }
  }
  if (text.includes(begin(part))) return { kind: 'edited' }
  const inserted = `${text === '' || text.endsWith('\n') ? '' : '\n'}${block}`
  return { kind: 'write', text: `${text}${inserted}`, inserted }
}

/** What is left of a file without the block. */
type Removal =
  | { readonly kind: 'gone' }
  | { readonly kind: 'edited' }
  | { readonly kind: 'write'; readonly text: string }

export function planRemoval(text: string, part: string, inserted: string): Removal {
  const left = takeOut(text, inserted)
  if (left !== undefined) return { kind: 'write', text: left }
  return { kind: text.includes(begin(part)) ? 'edited' : 'gone' }
}

/** `undefined` if it is not there as it was inserted. */
function takeOut(text: string, inserted: string): string | undefined {
  const at = text.indexOf(inserted)
  if (at < 0) return undefined
  const [before, after] = [text.slice(0, at), text.slice(at + inserted.length)]
  // The line break that we added ends the user's line before, if another line of theirs follows now.
  return inserted.startsWith('\n') && after !== '' ? `${before}\n${after}` : `${before}${after}`
}
