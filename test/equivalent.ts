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
]
