/** What is kept of audit lines: an equal share for each holder. */
import t from 'tap'
import { formatAuditLine } from '../../src/audit/audit.js'
import { createShares, holderOf } from '../../src/audit/shares.js'

const TIME = '2026-01-01T00:00:00.000Z'
const GIVEN = { action: 'credentials', outcome: 'given', door: 'tcp' } as const
/** The lines that are kept, in the order given: oldest first. */
function keepShares(lines: readonly string[], bytes: number): readonly string[] {
  const shares = createShares(bytes)
  const newestFirst = lines.toReversed()
  for (const one of newestFirst) shares.count(one, Buffer.byteLength(one) + 1)
  return newestFirst.filter((one) => shares.keeps(one)).reverse()
}

const line = (entry: object = {}) => formatAuditLine(TIME, { ...GIVEN, ...entry }).trimEnd()

t.test('a line counts against its token, else against those refused, else against the owner', async (t) => {
  t.equal(holderOf(line({ tokenId: 'a', tokenName: 'b' })), 'token a')
  t.equal(holderOf(line({ tokenId: 'a', outcome: 'refused' })), 'token a')
  t.equal(holderOf(line({ outcome: 'refused' })), 'refused')
  t.equal(holderOf(line()), 'owner')
  t.equal(holderOf(line({ agent: '"token_id":"a"' })), 'owner', 'what a caller chose is not read')
  t.equal(holderOf(line({ tokenName: '","token_id":"a' })), 'owner')
})

t.test('shares what there is, in order, the newest first', async (t) => {
  const of = (tokenId: string, many: number) =>
    Array.from({ length: many }, (_, index) => line({ tokenId, profile: String(index % 10) }))
  const size = Buffer.byteLength(of('a', 1)[0] ?? '') + 1
  const lines = [...of('a', 2), ...of('b', 50), ...of('c', 50)]
  const kept = keepShares(lines, size * 12)
  const count = (token: string) => kept.filter((one) => holderOf(one) === `token ${token}`).length
  t.strictSame([count('a'), count('b'), count('c')], [2, 5, 5])
  t.strictSame(kept.slice(2, 7), of('b', 50).slice(45))
  t.strictSame(keepShares(lines, size * 200), lines)
  t.strictSame(keepShares(lines, 0), [])
})
