import t from 'tap'
import { retryAfterS } from '../../src/proxy/parking.js'

t.test('who counts the answers is told to ask more seldom', async (t) => {
  const table = [
    ['prefect/2.20.25 (API 0.8.4)', 20],
    ['prefect/2.17.0', 20],
    ['prefect/3.0.0 (API 0.8.4)', 20],
    ['prefect/3.3.0 (API 0.8.4)', 20],
    ['prefect/3.3.1 (API 0.8.4)', 5],
    ['prefect/3.10.2 (API 0.8.4)', 5],
    ['prefect/3.4.0rc1', 5],
    ['prefect/4.0.0', 5],
    ['prefect/10.2.3', 5],
    ['prefect/nonsense', 5],
    ['python-httpx/0.27', 5],
    ['', 5],
    [undefined, 5],
  ] as const
  for (const [userAgent, seconds] of table) t.equal(retryAfterS(userAgent), seconds, userAgent ?? 'none')
})
