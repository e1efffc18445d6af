import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileEventPattern } from '../eventbridge/event-pattern.ts'

const matches = (pattern: object, event: object) => compileEventPattern(JSON.stringify(pattern))(event)

/** For each pattern of a detail: details that match it, and details that do not. */
const cases: [name: string, pattern: object, match: object[], others: object[]][] = [
  [
    'an exact string',
    { a: ['x'] },
    [{ a: 'x' }, { a: 'x', b: 1 }],
    [{ a: 'X' }, { a: 'xy' }, {}, { b: 'x' }],
  ],
  ['any of several values', { a: ['x', 2] }, [{ a: 'x' }, { a: 2 }], [{ a: '2' }, { a: 'y' }]],
  ['a number by its value', { a: [300] }, [{ a: 300 }, { a: 300.0 }, { a: 3e2 }], [{ a: '300' }, { a: 301 }]],
  ['true', { a: [true] }, [{ a: true }], [{ a: false }, { a: 'true' }, { a: 1 }]],
  ['null', { a: [null] }, [{ a: null }], [{}, { a: '' }, { a: 0 }, { a: [] }]],
  ['the empty string', { a: [''] }, [{ a: '' }], [{ a: null }, {}]],
  ['all of several fields', { a: ['x'], b: ['y'] }, [{ a: 'x', b: 'y' }], [{ a: 'x' }, { a: 'x', b: 'z' }]],
  [
    'a nested field',
    { a: { b: ['x'] } },
    [{ a: { b: 'x' } }],
    [{ a: 'x' }, { b: 'x' }, { a: { c: { b: 'x' } } }],
  ],
  ['a field by its dotted path', { 'a.b': ['x'] }, [{ a: { b: 'x' } }, { 'a.b': 'x' }], [{ a: { b: 'y' } }]],
  [
    'one element of an array',
    { labels: ['Dog', 'Cat'] },
    [{ labels: ['Person', 'Cat'] }],
    [{ labels: ['Person'] }],
  ],
  [
    'one object of an array, in all fields',
    { labels: { Name: ['Dog'], Confidence: [{ numeric: ['>=', 90] }] } },
    [
      { labels: { Name: 'Dog', Confidence: 95 } },
      {
        labels: [
          { Name: 'Cat', Confidence: 40 },
          { Name: 'Dog', Confidence: 95 },
        ],
      },
    ],
    [
      {
        labels: [
          { Name: 'Cat', Confidence: 95 },
          { Name: 'Dog', Confidence: 40 },
        ],
      },
    ],
  ],
  [
    'addresses of a network',
    { a: [{ cidr: '10.0.0.0/24' }] },
    [{ a: '10.0.0.0' }, { a: '10.0.0.255' }],
    [{ a: '10.0.1.0' }, { a: '9.255.255.255' }, { a: '10.0.0' }, { a: 'x' }, { a: 10 }, { a: '::1' }, {}],
  ],
  [
    'addresses from the middle of a network on',
    { a: [{ cidr: '10.0.0.5/24' }] },
    [{ a: '10.0.0.5' }, { a: '10.0.0.255' }],
    [{ a: '10.0.0.4' }, { a: '10.0.1.5' }],
  ],
  [
    'all IPv4 addresses',
    { a: [{ cidr: '0.0.0.0/0' }] },
    [{ a: '0.0.0.0' }, { a: '255.255.255.255' }],
    [{ a: '::' }],
  ],
  [
    'addresses of an IPv6 network, however they are written',
    { a: [{ cidr: '2001:db8::/33' }] },
    [{ a: '2001:db8::' }, { a: '2001:0DB8:0:0:0:0:0:1' }, { a: '2001:db8:7fff:ffff::' }],
    [{ a: '2001:db8:8000::' }, { a: '2001:db9::' }, { a: '10.0.0.1' }, { a: '2001:db8' }],
  ],
  [
    'a prefix',
    { a: [{ prefix: 'im' }] },
    [{ a: 'image' }, { a: 'im' }],
    [{ a: 'Image' }, { a: 'aim' }, { a: 1 }, {}],
  ],
  [
    'a prefix in any case',
    { a: [{ prefix: { 'equals-ignore-case': 'IM' } }] },
    [{ a: 'Image' }],
    [{ a: 'aim' }],
  ],
  [
    'a suffix',
    { a: [{ suffix: '.png' }] },
    [{ a: 'cat.png' }],
    [{ a: 'cat.PNG' }, { a: '.png.jpg' }, { a: null }],
  ],
  [
    'a suffix in any case',
    { a: [{ suffix: { 'equals-ignore-case': '.png' } }] },
    [{ a: 'cat.PNG' }],
    [{ a: 'png' }],
  ],
  ['a text in any case', { a: [{ 'equals-ignore-case': 'Dog' }] }, [{ a: 'dOG' }], [{ a: 'dogs' }, { a: 1 }]],
  [
    'a wildcard',
    { a: [{ wildcard: 'a*bc*d' }] },
    [{ a: 'abcd' }, { a: 'a--bc--bc-d' }, { a: 'abc\nd' }],
    [{ a: 'abd' }, { a: 'xabcd' }, { a: 'abcdx' }, { a: 'abc' }],
  ],
  ['a wildcard that may not overlap', { a: [{ wildcard: 'ab*ba' }] }, [{ a: 'abba' }], [{ a: 'aba' }]],
  ['an escaped star and backslash', { a: [{ wildcard: '\\*\\\\' }] }, [{ a: '*\\' }], [{ a: 'x\\' }]],
  [
    'anything but a text',
    { a: [{ 'anything-but': 'x' }] },
    [{ a: 'y' }, { a: null }, { a: 1 }, { a: ['x', 'y'] }],
    [{ a: 'x' }, {}, { a: ['x'] }, { a: [] }],
  ],
  [
    'anything but these texts',
    { a: [{ 'anything-but': ['x', 'y'] }] },
    [{ a: 'z' }],
    [{ a: 'x' }, { a: 'y' }, {}],
  ],
  [
    'anything but these numbers',
    { a: [{ 'anything-but': [0, 1] }] },
    [{ a: 2 }, { a: '0' }],
    [{ a: 0 }, { a: 1 }],
  ],
  [
    'anything but a prefix',
    { a: [{ 'anything-but': { prefix: 'x' } }] },
    [{ a: 'y' }, { a: 1 }],
    [{ a: 'xy' }, {}],
  ],
  [
    'anything but these suffixes',
    { a: [{ 'anything-but': { suffix: ['.png', '.gif'] } }] },
    [{ a: 'cat.jpg' }],
    [{ a: 'cat.png' }, { a: 'cat.gif' }, {}],
  ],
  [
    'anything but a text in any case',
    { a: [{ 'anything-but': { 'equals-ignore-case': 'x' } }] },
    [{ a: 'y' }],
    [{ a: 'X' }],
  ],
  [
    'anything but a wildcard',
    { a: [{ 'anything-but': { wildcard: '*/lib/*' } }] },
    [{ a: '/bin' }],
    [{ a: '/lib/x' }],
  ],
  [
    'a field that is there',
    { a: [{ exists: true }] },
    [{ a: null }, { a: 0 }, { a: ['x'] }],
    [{}, { a: {} }, { a: { b: 1 } }, { a: [] }],
  ],
  [
    'a field that is not there',
    { a: [{ exists: false }] },
    [{}, { b: 1 }, { a: { b: 1 } }],
    [{ a: null }, { a: 1 }],
  ],
  [
    'a field that is not there in any element',
    { a: { b: [{ exists: false }] } },
    [{ a: [{ c: 1 }] }],
    [{ a: [{ c: 1 }, { b: 1 }] }],
  ],
  ['a value or absence', { a: ['x', { exists: false }] }, [{ a: 'x' }, {}], [{ a: 'y' }]],
  [
    'a number from a bound on',
    { a: [{ numeric: ['>=', 2] }] },
    [{ a: 2 }, { a: 3 }],
    [{ a: 1.9 }, { a: '3' }, {}],
  ],
  [
    'a number in a range',
    { a: [{ numeric: ['>', 0, '<=', 5] }] },
    [{ a: 5 }, { a: 0.1 }],
    [{ a: 0 }, { a: 5.1 }],
  ],
  ['a number below a bound', { a: [{ numeric: ['<', 5] }] }, [{ a: -1 }, { a: 4.9 }], [{ a: 5 }, { a: '1' }]],
  ['a number equal to', { a: [{ numeric: ['=', 3.018e2] }] }, [{ a: 301.8 }], [{ a: 301 }, { a: null }]],
  [
    'one alternative of $or',
    { a: ['x'], $or: [{ b: [1] }, { c: [{ exists: true }], d: { e: [2] } }] },
    [
      { a: 'x', b: 1 },
      { a: 'x', c: 0, d: { e: 2 } },
    ],
    [{ a: 'x' }, { b: 1 }, { a: 'x', c: 0 }, { a: 'x', b: 2, d: { e: 2 } }],
  ],
  [
    'a field named as an operator beside $or',
    { prefix: ['x'], $or: [{ b: [1] }, { c: [1] }] },
    [{ prefix: 'x', b: 1 }],
    [{ b: 1 }],
  ],
]

describe('an event pattern', () => {
  it.each(cases)('matches %s', (_, pattern, match, others) => {
    for (const detail of match)
      expect({ detail, matched: matches({ detail: pattern }, { detail }) }).toEqual({ detail, matched: true })
    for (const detail of others)
      expect({ detail, matched: matches({ detail: pattern }, { detail }) }).toEqual({
        detail,
        matched: false,
      })
  })

  it.each([
    ['no JSON', 'source', /Unexpected token/],
    ['an array', '["source"]', /Filter is not an object/],
    ['an empty pattern', '{}', /Empty objects are not allowed/],
    ['an empty object within', '{"detail": {}}', /Empty objects are not allowed/],
    ['an empty array', '{"source": []}', /Empty arrays are not allowed/],
    ['a bare value', '{"detail": {"a": 42}}', /"a" must be an object or an array/],
    ['an array in an array', '{"a": [["x"]]}', /Match value must be String, number, true, false, or null/],
    ['an unknown operator', '{"a": [{"EXISTS": true}]}', /Unrecognized match type EXISTS/],
    ['an operator called like a method', '{"a": [{"toString": "x"}]}', /Unrecognized match type toString/],
    ['a cidr that is a number', '{"a": [{"cidr": 10}]}', /cidr match pattern must be a string/],
    ['a cidr without a mask', '{"a": [{"cidr": "10.0.0.0"}]}', /one '\/' required/],
    ['a cidr with two masks', '{"a": [{"cidr": "10.0.0.0/8/8"}]}', /one '\/' required/],
    ['a cidr of no address', '{"a": [{"cidr": "host/8"}]}', /Nonstandard IP address: host/],
    ['a cidr whose mask is no number', '{"a": [{"cidr": "10.0.0.0/x"}]}', /mask bits must be an integer/],
    ['a cidr whose mask is negative', '{"a": [{"cidr": "10.0.0.0/-1"}]}', /must not be negative/],
    ['a cidr of one address', '{"a": [{"cidr": "10.0.0.0/32"}]}', /IPv4 mask bits must be < 32/],
    ['a cidr of one IPv6 address', '{"a": [{"cidr": "::1/128"}]}', /IPv6 mask bits must be < 128/],
    ['no operator', '{"a": [{}]}', /Match expression name not found/],
    ['two operators', '{"a": [{"prefix": "x", "suffix": "y"}]}', /Only one key allowed in match expression/],
    ['a prefix that is no string', '{"a": [{"prefix": ["x"]}]}', /prefix match pattern must be a string/],
    [
      'exists with a text',
      '{"a": [{"exists": "true"}]}',
      /exists match pattern must be either true or false/,
    ],
    ['anything but a mixture', '{"a": [{"anything-but": ["x", 1]}]}', /mixed type is not supported/],
    ['anything but nothing', '{"a": [{"anything-but": []}]}', /mixed type is not supported/],
    ['anything but null', '{"a": [{"anything-but": null}]}', /mixed type is not supported/],
    [
      'anything but an empty prefix',
      '{"a": [{"anything-but": {"prefix": ""}}]}',
      /Null prefix\/suffix not allowed/,
    ],
    [
      'anything but a number',
      '{"a": [{"anything-but": {"numeric": ["=", 1]}}]}',
      /Unsupported anything-but pattern: numeric/,
    ],
    ['numeric without a list', '{"a": [{"numeric": 5}]}', /Value of numeric must be an array/],
    ['numeric with nothing', '{"a": [{"numeric": []}]}', /Invalid member in numeric match/],
    ['an unknown comparison', '{"a": [{"numeric": ["!=", 5]}]}', /Unrecognized numeric range operator: !=/],
    ['two lower bounds', '{"a": [{"numeric": [">", 0, ">", 1]}]}', /Bad numeric range operator: >/],
    [
      'an upper bound first',
      '{"a": [{"numeric": ["<", 5, ">", 0]}]}',
      /Too many elements in numeric expression/,
    ],
    ['an empty range', '{"a": [{"numeric": [">", 5, "<", 5]}]}', /Bottom must be less than top/],
    ['a bound without a number', '{"a": [{"numeric": [">", 0, "<"]}]}', /Value of < must be numeric/],
    ['$or of one', '{"$or": [{"a": [1]}]}', /at least 2 Objects in \$or/],
    ['$or of operators', '{"$or": [{"prefix": ["a"]}, {"b": [1]}]}', /prefix is Ruler reserved fieldName/],
    ['$or of a field named as one', '{"$or": [{"a": {"=": [1]}}, {"b": [1]}]}', /= is Ruler reserved/],
    ['$or of texts', '{"$or": ["a", "b"]}', /Only JSON object is allowed in array of \$or/],
    ['two stars together', '{"a": [{"wildcard": "a**"}]}', /Consecutive wildcard characters/],
    ['an escaped letter', '{"a": [{"wildcard": "\\\\a"}]}', /Invalid escape character/],
  ])('refuses %s', (_, pattern, reason) => {
    expect(() => compileEventPattern(pattern)).toThrow(
      expect.objectContaining({
        name: 'InvalidEventPatternException',
        status: 400,
        message: expect.stringMatching(reason),
      }),
    )
  })

  it('refuses more than 1,000 combinations of $or at once, and in no time', () => {
    const either = { $or: [{ a: [1] }, { b: [1] }] }
    const pattern = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`k${index}`, either]))
    expect(() => compileEventPattern(JSON.stringify(pattern))).toThrow('Rule is too complex')
  })

  const word = fc.string({ unit: fc.constantFrom('a', 'b', '*', '\\', '.'), maxLength: 12 })

  /** What EventBridge takes, and what it calls too complex: eleven beginnings that match one value. */
  const wild = (...all: string[]) => all.map((one) => ({ wildcard: one }))
  it.each<[string, object]>([
    ['as the documentation warns of', { a: wild('*:*:*:*:*:event-bus/*') }],
    ['with one letter again and again', { a: wild('*a*a*a*a*a*') }],
    ['with a long repetition', { a: wild('*aaaaaaaaaa') }],
    ['of which four begin alike', { a: wild('*:a/*', '*:b/*', '*:c/*', '*:d/*') }],
    ['of which eleven begin with one letter', { a: wild(...[...'abcdefghijk'].map((one) => `x${one}*`)) }],
    ['that must not match', { a: [{ 'anything-but': { wildcard: '*a*a*a*a*a*' } }] }],
    ['of which one must not match', { a: [{ 'anything-but': { wildcard: ['x*', '*a*a*a*a*a*'] } }] }],
    ['in a second field', { a: ['x'], b: { c: wild('*a*a*a*a*a*') } }],
    ['that share a field', { $or: [{ a: wild('*:a/*', '*:b/*') }, { a: wild('*:c/*', '*:d/*') }] }],
  ])('refuses wildcards %s', (_name, pattern) => {
    expect(() => compileEventPattern(JSON.stringify(pattern))).toThrow(
      'Reason: Rule is too complex - try using fewer wildcard characters',
    )
  })
  it.each<[string, object]>([
    ['with one star less', { a: wild('*:*:*:*:event-bus/*') }],
    ['of five and five', { a: wild('*a*a*a*a*') }],
    ['with a shorter repetition', { a: wild('*aaaaaaaaa') }],
    ['of which three begin alike', { a: wild('*:a/*', '*:b/*', '*:c/*') }],
    ['that are the same', { a: wild(...Array.from({ length: 20 }, () => 'x*')) }],
    ['of which ten begin with one letter', { a: wild(...[...'abcdefghij'].map((one) => `x${one}*`)) }],
    ['with escaped stars', { a: wild('\\*a\\*a\\*a\\*a\\*a\\*a') }],
    ['in two fields', { a: wild('*a*a*a*a*'), b: wild('*a*a*a*a*') }],
    ['in fields of their own', { $or: [{ a: wild('*:a/*', '*:b/*') }, { b: wild('*:c/*', '*:d/*') }] }],
    ['behind a field that must be absent', { a: [{ exists: false }], b: wild('*a*a*a*a*a*') }],
  ])('takes wildcards %s', (_name, pattern) => {
    expect(compileEventPattern(JSON.stringify(pattern))({})).toBe(false)
  })
  it('looks at no pattern for long', () => {
    const made = ['*ab', '*ba', '*aab'].map((piece) => `${piece.repeat(2)}${'ab'.repeat(300)}`)
    expect(() => compileEventPattern(JSON.stringify({ a: wild(...made) }))).toThrow('Rule is too complex')
  })

  it('matches a wildcard exactly where the regular expression of the same meaning does', () => {
    const operand = fc
      .array(fc.constantFrom('a', 'b', '.', '\\*', '*'), { maxLength: 8 })
      .map((tokens) => tokens.filter((token, at) => token !== '*' || tokens[at - 1] !== '*'))
    fc.assert(
      fc.property(operand, word, (tokens, text) => {
        const source = tokens.join('').replace(/(?<!\\)[.*]/g, (sign) => (sign === '*' ? '.*' : '\\.'))
        const expected = new RegExp(`^${source}$`, 's').test(text)
        expect(matches({ a: [{ wildcard: tokens.join('') }] }, { a: text })).toBe(expected)
      }),
      { numRuns: 1000 },
    )
  })

  const wrapLeaves = (value: unknown): unknown =>
    typeof value === 'object' && value !== null
      ? Object.fromEntries(Object.entries(value).map(([key, part]) => [key, wrapLeaves(part)]))
      : [value]

  it('made of the values of an event matches that event', () => {
    const leaf = fc.oneof(
      fc.string(),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.boolean(),
      fc.constant(null),
    )
    const event = fc.dictionary(word, fc.oneof(leaf, fc.dictionary(word, leaf, { minKeys: 1 })), {
      minKeys: 1,
    })
    fc.assert(
      fc.property(event, (value) => {
        const json: typeof value = JSON.parse(JSON.stringify(value))
        const pattern = JSON.stringify(wrapLeaves(json))
        expect(compileEventPattern(pattern)(json)).toBe(true)
      }),
    )
  })
})
