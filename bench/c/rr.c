// rr: round-robin process timer. rr ROUNDS BASELINE FILE; FILE lines: name|command words. Prints JSON: median ms of wall and CPU,
// the median of the ratios to the baseline, pair by pair, and all of both. RR_STDIN: what the commands read.
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
extern char**environ;static char*nm[64],*av[64][32];static double*w[64],*c[64];static long rss[64];static int bad[64];
static int cmp(const void*a,const void*b){double x=*(double*)a,y=*(double*)b;return x<y?-1:x>y;}
static double med(double*a,int n){double*t=malloc(8*n);memcpy(t,a,8*n);qsort(t,n,8,cmp);double m=t[n/2];free(t);return m;}
static void all(char*n,double*a,int R){printf("\"%s\":[",n);for(int r=0;r<R;r++)printf("%s%.3f",r?",":"",a[r]);printf("]");}
static double now(){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec*1e3+t.tv_nsec/1e6;}
int main(int ac,char**argv){int R=atoi(argv[1]),n=0;char l[4096];FILE*f=fopen(argv[3],"r");while(fgets(l,sizeof l,f)){if(*l=='#'||!strchr(l,'|'))continue;l[strcspn(l,"\n")]=0;char*s=strdup(l);nm[n]=strsep(&s,"|");int k=0;char*t;while((t=strsep(&s," ")))if(*t)av[n][k++]=t;w[n]=malloc(8*R);c[n]=malloc(8*R);n++;}
 int b=0;for(int i=0;i<n;i++)if(!strcmp(nm[i],argv[2]))b=i;
 posix_spawn_file_actions_t fa;posix_spawn_file_actions_init(&fa);posix_spawn_file_actions_addopen(&fa,0,getenv("RR_STDIN")?getenv("RR_STDIN"):"/dev/null",O_RDONLY,0);posix_spawn_file_actions_addopen(&fa,1,"/dev/null",O_WRONLY,0);posix_spawn_file_actions_addopen(&fa,2,"/dev/null",O_WRONLY,0);
 for(int r=-2;r<R;r++)for(int i=0;i<n;i++){pid_t p;struct rusage u;int st;double t=now();if(posix_spawnp(&p,av[i][0],&fa,0,av[i],environ)){bad[i]++;continue;}wait4(p,&st,0,&u);double d=now()-t;if(r<0)continue;w[i][r]=d;c[i][r]=u.ru_utime.tv_sec*1e3+u.ru_utime.tv_usec/1e3+u.ru_stime.tv_sec*1e3+u.ru_stime.tv_usec/1e3;if(u.ru_maxrss>rss[i])rss[i]=u.ru_maxrss;if(st)bad[i]++;}
 double*q=malloc(8*R);printf("{");for(int i=0;i<n;i++){for(int r=0;r<R;r++)q[r]=w[i][r]/w[b][r];printf("%s\"%s\":{\"ms\":%.3f,\"ratio\":%.3f,\"cpu\":%.3f,\"bad\":%d,\"all\":{",i?",":"",nm[i],med(w[i],R),med(q,R),med(c[i],R),bad[i]);all("ms",w[i],R);printf(",");all("cpu",c[i],R);printf("}}");}puts("}");
 return 0;}
