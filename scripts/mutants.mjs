// The mutants of a source file: every one changes one comparison, one await, one durable step or one guard.
import ts from 'typescript'

const OPERATORS = new Map([
  ['===', '!=='],
  ['!==', '==='],
  ['<', '<='],
  ['<=', '<'],
  ['>', '>='],
  ['>=', '>'],
  ['&&', '||'],
  ['||', '&&'],
  ['&&=', '||='],
])

/**
 * `text`: the whole file, mutated. `line`, `number`: where. `change`: what is changed. Only inside of `functions`, if they are
 * named.
 */
export function mutantsOf(file, source, functions) {
  const tree = ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true)
  const lines = source.split('\n')
  const mutants = []
  const add = (node, change, edits) => {
    const number = tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1
    const sorted = [...edits].sort((one, other) => other.from - one.from)
    const text = sorted.reduce((now, { from, to, by }) => now.slice(0, from) + by + now.slice(to), source)
    mutants.push({ number, line: lines[number - 1].trim(), change, text })
  }
  const replaced = (node, by) => [{ from: node.getStart(tree), to: node.getEnd(), by }]
  const textOf = (node) => node.getText(tree)

  const visit = (node, isInside) => {
    const inside = isInside || functions?.includes(node.name?.text)
    if (inside) {
      if (ts.isBinaryExpression(node)) {
        const operator = textOf(node.operatorToken)
        const other = OPERATORS.get(operator)
        const change = `${other}: ${ending(textOf(node.left))} ${operator} ${beginning(textOf(node.right))}`
        if (other !== undefined) add(node.operatorToken, change, replaced(node.operatorToken, other))
      }
      if (ts.isAwaitExpression(node)) {
        add(
          node,
          `not awaited: ${beginning(textOf(node.expression))}`,
          replaced(node, `(${textOf(node.expression)})`),
        )
      }
      if (isSync(node)) add(node, `not done: ${textOf(node)}`, replaced(node, 'Promise.resolve()'))
      if (ts.isExpressionStatement(node) && ts.isAwaitExpression(node.expression)) {
        add(node, `left out: ${beginning(textOf(node))}`, replaced(node, ';'))
      }
      if (isGuard(node)) add(node, `no guard: ${beginning(textOf(node.expression))}`, replaced(node, ';'))
      for (const [first, second] of pairsOf(node)) {
        add(first, `after ${beginning(textOf(second))}`, [
          ...replaced(first, textOf(second)),
          ...replaced(second, textOf(first)),
        ])
      }
    }
    ts.forEachChild(node, (child) => visit(child, inside))
  }
  visit(tree, functions === undefined)
  return mutants
}

/** The text in one line, cut off after 60 characters. */
function beginning(text) {
  const line = text.replace(/\s+/g, ' ')
  return line.length > 60 ? `${line.slice(0, 60)}…` : line
}

function ending(text) {
  const line = text.replace(/\s+/g, ' ')
  return line.length > 60 ? `…${line.slice(-60)}` : line
}

function isSync(node) {
  return (
    ts.isCallExpression(node) &&
    ts.isPropertyAccessExpression(node.expression) &&
    ['sync', 'datasync'].includes(node.expression.name.text)
  )
}

/** `if (…) return`, `throw` or `continue`, alone or in a block, without an `else`. */
function isGuard(node) {
  if (!ts.isIfStatement(node) || node.elseStatement !== undefined) return false
  const { thenStatement: then } = node
  const last = ts.isBlock(then) ? then.statements.at(-1) : then
  return (
    last !== undefined &&
    [ts.isReturnStatement, ts.isThrowStatement, ts.isContinueStatement].some((is) => is(last))
  )
}

/** Neighbours that may change places, if one of them is awaited and the second does not use what the first declares. */
function pairsOf(node) {
  if (!ts.isBlock(node) && !ts.isSourceFile(node)) return []
  return node.statements.slice(1).flatMap((second, index) => {
    const first = node.statements[index]
    const isStep = (one) => ts.isExpressionStatement(one) || ts.isVariableStatement(one)
    if (!isStep(first) || !isStep(second) || !(hasAwait(first) || hasAwait(second))) return []
    return declaredBy(first).some((name) => isUsed(second, name)) ? [] : [[first, second]]
  })
}

function hasAwait(node) {
  if (ts.isAwaitExpression(node)) return true
  if (ts.isFunctionLike(node)) return false
  return ts.forEachChild(node, (child) => hasAwait(child) || undefined) ?? false
}

function declaredBy(statement) {
  if (!ts.isVariableStatement(statement)) return []
  const namesOf = (name) =>
    ts.isIdentifier(name) ? [name.text] : name.elements.flatMap((one) => (one.name ? namesOf(one.name) : []))
  return statement.declarationList.declarations.flatMap(({ name }) => namesOf(name))
}

function isUsed(node, name) {
  if (ts.isIdentifier(node) && node.text === name) return true
  return ts.forEachChild(node, (child) => isUsed(child, name) || undefined) ?? false
}
