/** `Prefer` and `If-None-Match` as people and libraries write them. */
import t from 'tap'
import { entityTag, matchesTag, preferredWaitMs } from '../../src/http/conditional.js'

t.test('reads the wait from every form of Prefer in RFC 7240, at most 300 s', (t) => {
  const cases = [
    [undefined, 0],
    ['', 0],
    ['wait=30', 30_000],
    ['WAIT = 30', 30_000],
    ['wait="30"', 30_000],
    ['respond-async, wait=5;foo=bar', 5_000],
    [['respond-async', 'wait=7'], 7_000],
    ['wait=300', 300_000],
    ['wait=301', 300_000],
    ['wait=99999999999999999999', 0],
    ['wait=-1', 0],
    ['wait=1.5', 0],
    ['wait', 0],
    ['await=5', 0],
  ] as const
  for (const [header, expected] of cases) t.equal(preferredWaitMs(header), expected, JSON.stringify(header))
  t.end()
})

t.test('finds a tag in a list, weak or strong, and no other', (t) => {
  const tag = entityTag('cloud', 7)
  t.equal(tag, '"cloud-7"')
  for (const header of ['"cloud-7"', 'W/"cloud-7"', '"a", "cloud-7"', ' "cloud-7" '])
    t.ok(matchesTag(header, tag), header)
  for (const header of [undefined, '', '*', '"cloud-77"', '"xcloud-7"', 'cloud-7'])
    t.notOk(matchesTag(header, tag))
  t.notOk(matchesTag(entityTag('a", "cloud', 7), tag), 'a name cannot make a second tag')
  t.end()
})
