import fc from 'fast-check'

/** Any characters, lone surrogates too. fast-check's unit `binary` leaves those out, and takes 0.7 s for a table of the others. */
export const anyText = (maxLength?: number): fc.Arbitrary<string> =>
  fc.string({
    unit: fc.oneof(fc.nat(0x7f), fc.nat(0xffff), fc.nat(0x10ffff)).map((code) => String.fromCodePoint(code)),
    ...(maxLength !== undefined && { maxLength }),
  })
