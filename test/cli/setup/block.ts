/** Marked blocks: whatever is in a file, taking the block out leaves every other byte. */
import fc from 'fast-check'
import t from 'tap'
import { planBlock, planRemoval, renderBlock } from '../../../src/cli/setup/block.js'

const BLOCK = renderBlock('hook', ['eval "$(prefect-auth hook bash)"'])
const OTHER = renderBlock('completion', ['complete -F x prefect-auth'])

function put(text: string, part = 'hook', block = BLOCK, before?: string) {
  const plan = planBlock(text, part, block, before)
  if (plan.kind !== 'write') throw new Error(plan.kind)
  return plan
}

t.test('a block goes to the end of the file, on lines of its own', async (t) => {
  const table = [
    ['', BLOCK],
    ['alias a=b\n', `alias a=b\n${BLOCK}`],
    ['alias a=b', `alias a=b\n${BLOCK}`],
    ['\r\n', `\r\n${BLOCK}`],
  ] as const
  for (const [text, expected] of table) t.equal(put(text).text, expected)
  t.same(planBlock(`a\n${BLOCK}b\n`, 'hook', BLOCK), { kind: 'there' }, 'a second time it is there')
})

t.test('what was inserted is taken out, and every other byte stays', async (t) => {
  // One character a byte, as the files are read.
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (before, after) => {
      fc.pre(!before.includes('>>>') && !after.includes('>>>'))
      const hook = put(before)
      t.same(planRemoval(hook.text, 'hook', hook.inserted), { kind: 'write', text: before })
      const both = put(hook.text, 'completion', OTHER)
      const one = planRemoval(both.text, 'hook', hook.inserted)
      t.equal(one.kind, 'write')
      const two = planRemoval(one.kind === 'write' ? one.text : '', 'completion', both.inserted)
      const isJoined = !before.endsWith('\n') && before !== ''
      t.same(two, { kind: 'write', text: isJoined ? `${before}\n` : before })
      const grown = planRemoval(`${hook.text}${after}`, 'hook', hook.inserted)
      t.same(grown, {
        kind: 'write',
        text: isJoined && after !== '' ? `${before}\n${after}` : `${before}${after}`,
      })
    }),
  )
})

t.test('a block that the user edited, or removed, is left', async (t) => {
  const { text, inserted } = put('a')
  const edited = text.replace('eval', '# eval')
  t.same(planRemoval(edited, 'hook', inserted), { kind: 'edited' })
  t.same(planBlock(edited, 'hook', BLOCK, inserted), { kind: 'edited' })
  t.same(planBlock(edited, 'hook', BLOCK), { kind: 'edited' })
  t.same(planRemoval('a', 'hook', inserted), { kind: 'gone' })
})

t.test('the block of an older version is replaced where it is known', async (t) => {
  const old = put('a\n', 'hook', renderBlock('hook', ['old']))
  t.equal(put(old.text, 'hook', BLOCK, old.inserted).text, `a\n${BLOCK}`)
  const joined = put('a', 'hook', renderBlock('hook', ['old']))
  const both = put(joined.text, 'completion', OTHER)
  const next = put(both.text, 'hook', BLOCK, joined.inserted)
  t.equal(next.text, `a\n${BLOCK}${OTHER}`, 'in its place')
  const one = planRemoval(next.text, 'completion', both.inserted)
  t.same(one.kind === 'write' && planRemoval(one.text, 'hook', next.inserted), { kind: 'write', text: 'a' })
})
