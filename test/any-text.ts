import fc from 'fast-check'

/** Any characters, lone surrogates too. The unit `binary` has all of them as well, after 0.7 s for a table of each. */
export const anyText = (maxLength?: number): fc.Arbitrary<string> =>
  fc.string({
    unit: fc.oneof(fc.nat(0x7f), fc.nat(0xffff), fc.nat(0x10ffff)).map((code) => String.fromCodePoint(code)),
    ...(maxLength !== undefined && { maxLength }),
  })
