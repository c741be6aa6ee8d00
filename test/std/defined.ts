import t from 'tap'
import { defined } from '../../src/std/defined.js'

t.test('drops what is undefined and nothing else', async (t) => {
  const maybe: string | undefined = undefined
  t.strictSame(defined({ a: 1, b: maybe, c: null, d: '', e: 0, f: false }), {
    a: 1,
    c: null,
    d: '',
    e: 0,
    f: false,
  })
  t.notOk('b' in defined({ b: maybe }))
})

t.test('copies', async (t) => {
  const object = { a: 1 }
  t.not(defined(object), object)
})
