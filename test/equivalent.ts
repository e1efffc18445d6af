import type { MadeMutant } from './made.ts'

/** Made mutants that do what the code does, as far as anybody can see, each with the reason. */
export const EQUIVALENT: (Pick<MadeMutant, 'file' | 'line' | 'of' | 'to'> & { why: string })[] = [
  {
    file: 'api/auth.ts',
    line: 'for await (const chunk of response.body ?? []) {',
    of: 'response.body ?? []',
    to: 'response.body',
    why: 'Only answers such as 204 have no body, and a Response with one cannot be made of them: an error either way.',
  },
  {
    file: 'shared/labels.ts',
    line: "const labels = image.status === 'completed' ? (image.rekognitionLabels ?? []) : []",
    of: "image.status === 'completed'",
    to: 'true',
    why: 'No other image has labels; the types want to be asked.',
  },
  {
    file: 'local/gateway.ts',
    line: 'const DATE = /^(\\d{4})(\\d\\d)(\\d\\dT\\d\\d)(\\d\\d)(\\d\\dZ)$/',
    of: '/^(\\d{4})(\\d\\d)(\\d\\dT\\d\\d)(\\d\\d)(\\d\\dZ)$/',
    to: '/(\\d{4})(\\d\\d)(\\d\\dT\\d\\d)(\\d\\d)(\\d\\dZ)$/',
    why: 'The first eight characters are a day, in digits: a date that begins after one of them is of a year that is far.',
  },
  {
    file: 'shared/image.ts',
    line: 'String(Number.parseInt(imageId.slice(-1), 16) % UNFINISHED_SHARDS.length)',
    of: '1',
    to: '2',
    why: 'Sixteen is a multiple of four, so the digit before the last changes nothing.',
  },
  {
    file: 'shared/image.ts',
    line: 'String(Number.parseInt(imageId.slice(-1), 16) % UNFINISHED_SHARDS.length)',
    of: '16',
    to: '17',
    why: 'It is one digit, which means the same in any base that has it.',
  },
  {
    file: 'shared/config.ts',
    line: "const authSchema = z.discriminatedUnion('AUTH', [",
    of: "'AUTH'",
    to: "''",
    why: 'Zod makes no such schema, so nothing starts that imports it.',
  },
  {
    file: 'shared/event.ts',
    line: '.sort((a, b) => b.Confidence - a.Confidence || (a.Name < b.Name ? -1 : 1))',
    of: 'a.Name < b.Name',
    to: 'a.Name <= b.Name',
    why: 'Two that have the same name and confidence look the same in either order.',
  },
  {
    file: 'shared/event.ts',
    line: '.sort((a, b) => b.Confidence - a.Confidence || (a.Name < b.Name ? -1 : 1))',
    of: '1',
    to: '2',
    why: 'Only the sign of it matters.',
  },
  {
    file: 'shared/event.ts',
    line: 'const [top] = [...(face.Emotions ?? [])].sort((a, b) => (b.Confidence ?? 0) - (a.Confidence ?? 0))',
    of: 'a.Confidence ?? 0',
    to: 'a.Confidence',
    why: 'V8 asks of `a` whether it goes before `b`; without a confidence it does not, be that by 0 or by NaN.',
  },
  {
    file: 'local/gateway.ts',
    line: 'const DATE = /^(\\d{4})(\\d\\d)(\\d\\dT\\d\\d)(\\d\\d)(\\d\\dZ)$/',
    of: '/^(\\d{4})(\\d\\d)(\\d\\dT\\d\\d)(\\d\\d)(\\d\\dZ)$/',
    to: '/^(\\d{4})(\\d\\d)(\\d\\dT\\d\\d)(\\d\\d)(\\d\\dZ)/',
    why: 'Date.parse takes nothing that goes on after the Z.',
  },
  {
    file: 'shared/format.ts',
    line: 'for (let from = 8; from + 4 <= Math.min(size, text.length, 256); from += 4)',
    of: '256',
    to: '257',
    why: 'Brands begin at multiples of four.',
  },
  {
    file: 'shared/records.ts',
    line: '.update(JSON.stringify([owner, original.sha256, paidAnalyses(analyses).sort(), analysisSource]))',
    of: 'paidAnalyses(analyses).sort()',
    to: 'paidAnalyses(analyses)',
    why: 'They come in one order anyway; sorted is how tables have them.',
  },
]
